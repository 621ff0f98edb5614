// What all of the app's components share.

import { createContext, useContext, useSyncExternalStore } from 'react';
import type { Api } from '../service/api';
import type { Memory } from '../service/memory';
import { type Language, sentence, type Words } from '../words';
import type { Appearance, Config } from './config';
import type { Conversation } from './conversation';
import type { State } from './state';

export interface Shared {
  config: Config;
  appearance: Appearance;
  language: Language;
  api: Api;
  memory: Memory;
  conversation: Conversation;
  /** Closes the chat, where it can be closed. */
  close: (() => void) | null;
}

export const SharedContext = createContext<Shared | null>(null);

export function useShared(): Shared {
  const shared = useContext(SharedContext);
  if (!shared) throw new Error('outside of the app');
  return shared;
}

export function useWords(): Words {
  return useShared().language.words;
}

/** Says a failure in the language of the page. */
export function useSentence(): (error: unknown) => string {
  const { failures } = useShared().language;
  return (error) => sentence(failures, error);
}

export function useConversation(): State {
  const { conversation } = useShared();
  return useSyncExternalStore(conversation.subscribe, () => conversation.state);
}
