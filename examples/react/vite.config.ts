import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// The page and the API share one origin through this proxy, so no CORS setting is needed.
// SOLOIST_URL names another service.
const service = (globalThis as { process?: { env: Record<string, string | undefined> } }).process?.env.SOLOIST_URL;
const proxy = { '/api': service ?? 'http://127.0.0.1:8010' };

export default defineConfig({ plugins: [react()], server: { proxy }, preview: { proxy } });
