// The round button in the corner, and the panel that it opens.

import css from './bubble.css';
import { ICONS } from './icons';
import { textsFor } from './texts';

export class Bubble extends HTMLElement {
  private readonly texts;
  private chat: HTMLElement | null = null;

  constructor(
    private readonly settings: Record<string, string>,
    position = 'right',
  ) {
    super();
    this.texts = textsFor(settings.lang || document.documentElement.lang);
    this.dataset.position = position === 'left' ? 'left' : 'right';
    const root = this.attachShadow({ mode: 'open' });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
    root.adoptedStyleSheets = [sheet];
    root.innerHTML = `<div class="panel" role="dialog" hidden></div><button aria-expanded="false">${ICONS.chat}</button>`;
    this.panel.setAttribute('aria-label', settings.heading || this.texts.title);
    this.name(this.texts.openChat);
    this.button.addEventListener('click', () => (this.panel.hidden ? void this.open() : this.close()));
    this.addEventListener('keydown', (event) => event.key === 'Escape' && this.close());
  }

  async open(): Promise<void> {
    this.panel.hidden = false;
    this.button.setAttribute('aria-expanded', 'true');
    this.button.innerHTML = ICONS.down;
    this.name(this.texts.closeChat);
    await import('./element');
    this.chat ??= this.addChat();
    this.chat.focus();
  }

  close(): void {
    if (this.panel.hidden) return;
    this.panel.hidden = true;
    this.button.setAttribute('aria-expanded', 'false');
    this.button.innerHTML = ICONS.chat;
    this.name(this.texts.openChat);
    this.button.focus();
  }

  private get panel(): HTMLElement {
    return this.shadowRoot?.querySelector('.panel') as HTMLElement;
  }

  private get button(): HTMLElement {
    return this.shadowRoot?.querySelector('button') as HTMLElement;
  }

  private addChat(): HTMLElement {
    const chat = document.createElement('soloist-chat');
    for (const [name, value] of Object.entries(this.settings)) chat.setAttribute(name, value);
    chat.setAttribute('closable', '');
    chat.addEventListener('soloist-close', () => this.close());
    this.panel.append(chat);
    return chat;
  }

  private name(label: string): void {
    this.button.setAttribute('aria-label', label);
  }
}

customElements.define('soloist-bubble', Bubble);
