// The page around the chat: who answers, what it cost, light and dark, a new conversation.

import './element';
import type { SoloistChat } from './element';
import { ICONS } from './icons';
import { fill, textsFor } from './texts';

interface Config {
  assistant: string;
  model: string;
  description: string | null;
  upstream: string;
  responder: string | null;
  token_url: string | null;
  /** A sentence instead of the chat, where it cannot work. */
  closed: string | null;
}

const THEME_KEY = 'soloist:theme';
const config = JSON.parse(document.querySelector('#config')?.textContent ?? '{}') as Config;
const texts = textsFor(null);
const find = <T extends HTMLElement>(selector: string) => document.querySelector(selector) as T;

function isDark(): boolean {
  const chosen = localStorage.getItem(THEME_KEY);
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
}

function applyTheme(chat: SoloistChat | null): void {
  const dark = isDark();
  document.documentElement.dataset.scheme = dark ? 'dark' : 'light';
  chat?.setAttribute('theme', dark ? 'dark' : 'light');
  const button = find('#theme');
  button.innerHTML = dark ? ICONS.sun : ICONS.moon;
  button.title = dark ? texts.lightTheme : texts.darkTheme;
  button.setAttribute('aria-label', button.title);
}

function showWhoAnswers(): void {
  document.documentElement.lang = texts.language;
  find('h1').textContent = config.assistant;
  find('.model').textContent = config.upstream === 'embedded' ? config.model : `${config.model} · ${config.upstream}`;
  const demo = find('.demo');
  demo.hidden = config.upstream !== 'embedded';
  demo.textContent = texts.embedded;
  find('footer').textContent = config.responder === 'guide' ? texts.guideDisclaimer : texts.disclaimer;
  const button = find('#new');
  button.innerHTML = `${ICONS.newChat}<span>${texts.newConversation}</span>`;
  button.title = texts.newConversation;
}

function addChat(): SoloistChat {
  const chat = document.createElement('soloist-chat') as SoloistChat;
  chat.setAttribute('headless', '');
  chat.setAttribute('tokens', '');
  chat.setAttribute('heading', config.assistant);
  chat.setAttribute('lang', texts.language);
  chat.setAttribute('api-url', new URL('../api/v1', import.meta.url).href);
  chat.setAttribute('storage-key', 'playground');
  if (config.description) chat.setAttribute('greeting', config.description);
  if (config.responder === 'guide') chat.setAttribute('suggestions', texts.guideSuggestions);
  if (config.token_url) chat.setAttribute('token-url', config.token_url);
  find('#chat').append(chat);
  return chat;
}

function showTokens(chat: SoloistChat): void {
  const output = find('.tokens');
  chat.addEventListener('soloist-tokens', (event) => {
    const total = (event as CustomEvent<number>).detail;
    output.hidden = !total;
    output.textContent = fill(texts.conversationTokens, { total });
  });
}

function start(): void {
  showWhoAnswers();
  let chat: SoloistChat | null = null;
  if (config.closed) {
    const sentence = document.createElement('p');
    sentence.className = 'sentence';
    sentence.textContent = config.closed;
    find('#chat').append(sentence);
    find('#new').hidden = true;
  } else {
    chat = addChat();
    showTokens(chat);
    find('#new').addEventListener('click', () => chat?.newConversation());
  }
  applyTheme(chat);
  find('#theme').addEventListener('click', () => {
    localStorage.setItem(THEME_KEY, isDark() ? 'light' : 'dark');
    applyTheme(chat);
  });
}

start();
