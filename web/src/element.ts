// <soloist-chat>: the chat as one element, its styles its own.

import 'deep-chat/dist/deepChat.bundle.js';
import type { DeepChat } from 'deep-chat';
import { enhance } from './accessibility';
import { Api, messageOf, TokenSource } from './api';
import { Conversation, type Signals } from './conversation';
import css from './element.css';
import { ICONS } from './icons';
import { Memory } from './memory';
import { download, escapeHtml, type Shown } from './render';
import { type Texts, textsFor } from './texts';
import { attachButton, dress, textInputStyle } from './theme';

const MAX_FILES = 5;
const darkMode = matchMedia('(prefers-color-scheme: dark)');

/**
 * Attributes: api-url, token-url, heading, greeting, suggestions (separated by |), lang, theme (light,
 * dark, auto), storage-key, headless, closable, tokens.
 * Events: soloist-tokens with what the conversation has used, soloist-close when the person closes a chat that can be.
 */
export class SoloistChat extends HTMLElement {
  static readonly observedAttributes = ['theme', 'heading'];

  private chat: DeepChat | null = null;
  private conversation: Conversation | null = null;
  private texts: Texts = textsFor(null);
  private api: Api | null = null;
  private wantsFocus = false;
  private readonly applyTheme = () => {
    const theme = this.getAttribute('theme');
    const isDark = theme === 'dark' || (theme !== 'light' && darkMode.matches);
    this.dataset.scheme = isDark ? 'dark' : 'light';
  };

  connectedCallback(): void {
    darkMode.addEventListener('change', this.applyTheme);
    this.applyTheme();
    if (!this.shadowRoot) void this.build(this.attachShadow({ mode: 'open' }));
  }

  disconnectedCallback(): void {
    darkMode.removeEventListener('change', this.applyTheme);
  }

  attributeChangedCallback(): void {
    this.applyTheme();
    const heading = this.shadowRoot?.querySelector('h2');
    if (heading) heading.textContent = this.heading;
  }

  /** Begins anew; the thread before stays with the service until somebody deletes it. */
  newConversation(): void {
    this.conversation?.restart();
    this.mount([]);
    this.focus();
  }

  override focus(): void {
    this.wantsFocus = true;
    // A person who has gone on to something else is not called back.
    for (const type of ['keydown', 'pointerdown']) {
      document.addEventListener(type, () => (this.wantsFocus = false), { once: true, capture: true });
    }
    this.takeFocus();
  }

  /** A new deep-chat draws its input a moment after it is attached, and draws it again. */
  private takeFocus(): void {
    const input = this.chat?.shadowRoot?.querySelector('#text-input');
    if (this.wantsFocus && input && this.chat?.shadowRoot?.activeElement !== input) this.chat?.focusInput();
  }

  private get heading(): string {
    return this.getAttribute('heading') || this.texts.title;
  }

  private async build(root: ShadowRoot): Promise<void> {
    this.texts = textsFor(this.getAttribute('lang') || document.documentElement.lang);
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
    root.adoptedStyleSheets = [sheet];
    root.innerHTML = this.frame();
    root.addEventListener('click', (event) => this.clicked(event));
    this.conversation = this.connect();
    await this.begin(this.conversation);
  }

  private frame(): string {
    const { newConversation, closeChat } = this.texts;
    const close = this.hasAttribute('closable')
      ? `<button data-do="close" aria-label="${closeChat}" title="${closeChat}">${ICONS.close}</button>`
      : '';
    return `<section class="frame" aria-label="${this.texts.messages}">
      <header><h2></h2>
        <button data-do="new" aria-label="${newConversation}" title="${newConversation}">${ICONS.newChat}</button>${close}
      </header>
      <main></main><footer><div class="notice" role="status"></div></footer>
      <div class="unseen" role="status" aria-live="polite"></div></section>`;
  }

  private connect(): Conversation {
    const base = new URL(this.getAttribute('api-url') || '/api/v1', document.baseURI).href.replace(/\/$/, '');
    const tokens = new TokenSource(this.getAttribute('token-url'), this.texts);
    this.api = new Api(base, tokens, this.texts);
    const memory = new Memory(`soloist:${base}:${this.getAttribute('storage-key') || 'default'}`);
    const listener = {
      onNotice: (text: string) => this.say('.notice', text),
      onAnnounce: (text: string) => this.say('.unseen', text),
      onTokens: (total: number) => this.dispatchEvent(new CustomEvent('soloist-tokens', { detail: total })),
      onHistory: (shown: Shown[]) => this.mount(shown),
    };
    const tellsTokens = this.hasAttribute('tokens');
    return new Conversation(this.api, memory, this.texts, listener, () => this.chat as DeepChat, tellsTokens);
  }

  private async begin(conversation: Conversation): Promise<void> {
    this.attributeChangedCallback();
    try {
      this.mount(await conversation.history());
      await conversation.resume();
    } catch (error) {
      this.mount([]);
      this.chat?.addMessage({ error: messageOf(error) });
    }
  }

  private mount(history: Shown[]): void {
    const chat = document.createElement('deep-chat');
    dress(chat);
    chat.history = history;
    if (!history.length) chat.introMessage = { html: this.intro() };
    chat.connect = { stream: true, handler: (body: unknown, signals: Signals) => void this.conversation?.handle(body, signals) };
    chat.textInput = textInputStyle(this.texts.placeholder);
    chat.mixedFiles = { files: { maxNumberOfFiles: MAX_FILES }, button: attachButton };
    chat.dragAndDrop = true;
    chat.errorMessages = { displayServiceErrorMessages: true };
    chat.remarkable = { breaks: true, linkTarget: '_blank' };
    this.shadowRoot?.querySelector('main')?.replaceChildren(chat);
    chat.shadowRoot?.addEventListener('click', (event) => void this.messageClicked(event));
    enhance(chat, this.texts, () => this.takeFocus());
    this.chat = chat;
  }

  private intro(): string {
    const name = this.getAttribute('heading');
    const greeting = this.getAttribute('greeting') || this.texts.greeting;
    const suggestions = (this.getAttribute('suggestions') ?? '').split('|').filter(Boolean);
    const buttons = suggestions.map((text) => `<button class="deep-chat-suggestion-button">${escapeHtml(text)}</button>`);
    return `<div class="intro">${name ? `<p class="name">${escapeHtml(name)}</p>` : ''}<p>${escapeHtml(greeting)}</p>
      ${buttons.length ? `<div class="suggestions">${buttons.join('')}</div>` : ''}</div>`;
  }

  private clicked(event: Event): void {
    const action = (event.target as Element).closest?.('[data-do]')?.getAttribute('data-do');
    if (action === 'new') this.newConversation();
    if (action === 'close') this.dispatchEvent(new CustomEvent('soloist-close'));
  }

  private async messageClicked(event: Event): Promise<void> {
    const target = (event.target as Element).closest<HTMLElement>('[data-file],[data-copy],[data-decision]');
    if (!target) return;
    const { decision, call } = target.dataset;
    if (decision === 'approve' || decision === 'deny') {
      for (const button of target.parentElement?.querySelectorAll('button') ?? []) button.disabled = true;
      target.classList.add('chosen');
      await this.conversation?.decide(call ?? '', decision);
      return;
    }
    if (target.dataset.copy !== undefined) {
      await navigator.clipboard.writeText(target.dataset.copy).catch(() => undefined);
      target.textContent = this.texts.copied;
      this.say('.unseen', this.texts.copied);
    } else if (this.api) {
      const failure = await download(this.api, target.dataset.file ?? '', target.dataset.name ?? '');
      if (failure) this.chat?.addMessage({ error: failure });
    }
  }

  private say(place: string, text: string): void {
    const element = this.shadowRoot?.querySelector(place);
    if (element && element.textContent !== text) element.textContent = text;
  }
}

customElements.define('soloist-chat', SoloistChat);
