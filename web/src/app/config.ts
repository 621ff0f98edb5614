// What the service writes into the page, and what the host page's attributes change of it.

import type { Settings, Theme } from '../protocol';
import type { OnDisconnect } from '../service/turn';

/** The operator's switches, from UI_FILE; null where it says nothing. */
export interface Ui {
  title: string | null;
  logo: string | null;
  avatar: string | null;
  colours: Record<string, string> | null;
  greeting: string | null;
  starters: string[] | null;
  disclaimer: string | null;
  uploads: boolean | null;
  languages: string[] | null;
  on_disconnect: OnDisconnect | null;
}

export interface Config {
  mode: 'page' | 'frame';
  assistant: string;
  description?: string | null;
  responder: string | null;
  model?: string;
  upstream?: string;
  token_url?: string | null;
  /** Why there is no chat, by the name of a sentence. */
  closed?: 'noSessions' | null;
  ui: Ui;
  /** What the service can do; `threads` is whether it lists a caller's threads. */
  features: { feedback: boolean; threads: boolean };
  /** What an upload may be; without `extensions` of any type. */
  files: { max_files: number; max_bytes: number; extensions: string[] };
}

/** How the chat looks and behaves: attributes of the host page before the operator's file before ours. */
export interface Appearance {
  title: string | null;
  greeting: string | null;
  starters: string[] | null;
  logo: string | null;
  avatar: string | null;
  disclaimer: string | null;
  uploads: boolean;
  languages: string[] | null;
  colours: Record<string, string>;
  theme: Theme;
  onDisconnect: OnDisconnect;
  isClosable: boolean;
}

export function readConfig(): Config {
  return JSON.parse(document.querySelector('#config')?.textContent ?? '{}') as Config;
}

export function appearanceOf({ ui, description, assistant, mode }: Config, host: Settings | null): Appearance {
  return {
    title: host?.heading ?? ui.title ?? (mode === 'page' ? assistant : null),
    greeting: host?.greeting ?? ui.greeting ?? description ?? null,
    starters: host?.suggestions ?? ui.starters,
    logo: host?.logo ?? ui.logo,
    avatar: host?.avatar ?? ui.avatar,
    disclaimer: host?.disclaimer ?? ui.disclaimer,
    uploads: host?.uploads ?? ui.uploads ?? true,
    languages: host?.languages ?? ui.languages,
    colours: { ...ui.colours, ...host?.colours },
    theme: host?.theme ?? 'auto',
    onDisconnect: host?.onDisconnect ?? ui.on_disconnect ?? 'finish',
    isClosable: host?.isClosable ?? false,
  };
}
