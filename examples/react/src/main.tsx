import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { AiSdkChat } from './AiSdkChat';
import { FetchChat } from './FetchChat';
import './style.css';

createRoot(document.getElementById('root') as HTMLElement).render(
  <StrictMode>
    <FetchChat />
    <AiSdkChat />
  </StrictMode>,
);
