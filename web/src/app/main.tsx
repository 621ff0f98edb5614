// Starts the app: as the page itself, or in a frame of somebody else's page.

import { createRoot } from 'react-dom/client';
import type { Settings } from '../protocol';
import { Api } from '../service/api';
import { HostStore, Memory, type Store } from '../service/memory';
import { BrowserStorage } from '../service/storage';
import { KeptTokens, NO_TOKENS, sessionFrom, type Tokens } from '../service/tokens';
import { loadLanguage } from '../words';
import { App } from './App';
import { type Appearance, appearanceOf, type Config, readConfig } from './config';
import type { Shared } from './context';
import { Conversation } from './conversation';
import { focusComposer } from './focus';
import { Host } from './frame';
import { changeTheme, setColours, startTheme } from './theme';

const ROOT = document.querySelector('#app') as HTMLElement;
/** The API stands beside this script's folder, under whatever prefix the service is published. */
const API_BASE = new URL('../api/v1', import.meta.url).href;

async function start(): Promise<void> {
  const config = readConfig();
  const closed = config.mode === 'frame' && parent === window ? 'onlyFramed' : config.closed;
  if (closed) return sayOnly(closed, config);
  const host = config.mode === 'frame' ? await Host.connect() : null;
  const appearance = appearanceOf(config, host?.settings ?? null);
  startTheme(appearance.theme, !host);
  setColours(appearance.colours);
  const language = await loadLanguage(wantedLanguages(host?.settings ?? null), appearance.languages);
  document.documentElement.lang = language.tag;

  const api = new Api(API_BASE, tokens(config, host), host ? { 'x-embed-origin': host.origin } : {});
  const memory = new Memory(store(host));
  const unread = new Unread(host);
  const conversation = new Conversation(api, memory, appearance.onDisconnect, (name, detail) => {
    host?.send({ type: 'event', name, detail });
    if (name === 'answer') unread.count();
  });
  const close = appearance.isClosable && host ? () => host.send({ type: 'close' }) : null;
  const shared: Shared = { config, appearance, language, api, memory, conversation, close };
  const root = createRoot(ROOT);
  const show = (changed: Appearance) => root.render(<App shared={{ ...shared, appearance: changed }} />);
  if (host) listen(host, shared, show);
  show(appearance);
  host?.send({ type: 'ready' });
  await conversation.load();
  // So that they are there when they are needed, even where the network is not.
  const parts = [import('../markdown/Answer'), import('./Conversations'), import('./About'), import('./SourceDialog')];
  await Promise.allSettled(parts);
}

/** Shows a sentence where there can be no chat. */
async function sayOnly(name: 'onlyFramed' | 'noSessions', config: Config): Promise<void> {
  const { tag, words } = await loadLanguage(navigator.languages, config.ui.languages);
  document.documentElement.lang = tag;
  startTheme('auto', false);
  ROOT.textContent = words[name];
  ROOT.className = 'closed';
}

function wantedLanguages(settings: Settings | null): string[] {
  return settings?.lang ? [settings.lang] : [...navigator.languages];
}

function tokens(config: Config, host: Host | null): Tokens {
  // The launcher keeps the session, of which it has read the ticket.
  if (host) return host.settings.needsToken ? { token: async (isRenewal) => (await host.session(!!isRenewal)).client_secret } : NO_TOKENS;
  const url = config.token_url;
  return url ? new KeptTokens(() => sessionFrom(url)) : NO_TOKENS;
}

function store(host: Host | null): Store {
  if (!host) return new BrowserStorage(`soloist:${API_BASE}:playground:`);
  const kept = new HostStore(host.settings.memory, (key, value) => host.send({ type: 'remember', key, value }));
  host.on('remembered', ({ key, value }) => kept.take(key, value));
  return kept;
}

/** Does what the host page asks for. */
function listen(host: Host, shared: Shared, show: (appearance: Appearance) => void): void {
  const { conversation } = shared;
  host.on('ask', ({ text }) => void conversation.askNext(text));
  host.on('new', () => void conversation.restart());
  host.on('focus', () => focusComposer());
  host.on('change', ({ settings }) => {
    const changed = { ...host.settings, ...settings };
    changeTheme(changed.theme ?? 'auto');
    if (settings.colours) setColours(settings.colours);
    show(appearanceOf(shared.config, changed));
  });
}

/** Counts the answers that end while nobody can see them. */
class Unread {
  private total = 0;
  private isShown = true;

  constructor(private readonly host: Host | null) {
    host?.on('shown', ({ isShown }) => {
      this.isShown = isShown;
      if (isShown) this.set(0);
    });
  }

  count(): void {
    if (!this.isShown) this.set(this.total + 1);
  }

  private set(total: number): void {
    if (total === this.total) return;
    this.total = total;
    this.host?.send({ type: 'unread', count: total });
  }
}

void start();
