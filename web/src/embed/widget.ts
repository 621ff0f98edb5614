// What <soloist-bubble> and <soloist-chat> share: the API for the host page, and the frame's life.

import type { Settings, Theme, ToApp } from '../protocol';
import { Frame, type FrameListener } from './frame';
import { pictureFor } from './pictures';
import { apiBase, ATTRIBUTES, type Changeable, changeableOf, framePage, langOf, languagesOf, settingsOf, themeOf } from './settings';
import { complete } from './tags';
import type { ApiError } from '../service/errors';
import { BrowserStorage } from '../service/storage';
import { KeptTokens, sessionFrom } from '../service/tokens';
import { type Texts, textsFor } from './texts';
import { ticketOf } from './ticket';
import type { MakeView, View } from './view';

type Pictures = Pick<Settings, 'logo' | 'avatar'>;

const CHANGEABLE = ['heading', 'theme', 'class', 'style'];
const darkMode = matchMedia('(prefers-color-scheme: dark)');

/**
 * Events, which bubble: soloist-ready, -open, -close, -unread (detail: how many answers nobody has seen), -thread,
 * -question, -answer, -error, -tokens (detail: what the conversation has used).
 */
export abstract class Widget extends HTMLElement {
  static readonly observedAttributes = [...ATTRIBUTES, 'class', 'style', 'hidden'];

  readonly #view: View;
  readonly #page = new MutationObserver(() => this.#change());
  /** Tells a load that still counts from one that was given up. */
  #load: object | null = null;
  #frame: Frame | null = null;
  #tokens: KeptTokens | null = null;
  #tokenUrl: string | null = null;
  #told = '';
  #waiting: ToApp[] = [];
  #isAttached = false;
  #isShown = false;
  #wantsFocus = false;
  #unread = 0;

  constructor(makeView: MakeView) {
    super();
    const actions = { open: () => this.open(), close: () => this.#close(true) };
    this.#view = makeView(this, this.attachShadow({ mode: 'open' }), actions);
  }

  open(): void {
    if (!this.#view.open()) return;
    if (this.#frame?.isSilent) this.#stop();
    this.#showOrHide();
    this.#tell('open');
    this.focus();
  }

  close(): void {
    this.#close(document.activeElement === this);
  }

  /** Opens the chat and sends a question as if the person had. */
  ask(text: string): void {
    const question = String(text).trim();
    if (!question) return;
    this.open();
    this.#send({ type: 'ask', text: question });
  }

  /** Begins anew; the thread before stays with the service until somebody deletes it. */
  newConversation(): void {
    this.#send({ type: 'new' });
  }

  override focus(): void {
    if (!this.#view.isOpen) return this.#view.focus();
    this.#wantsFocus = true;
    // A person who has gone on to something else is not called back.
    for (const type of ['keydown', 'pointerdown']) {
      document.addEventListener(type, () => (this.#wantsFocus = false), { once: true, capture: true });
    }
    this.#takeFocus();
  }

  /** How many answers ended while nobody saw them. */
  get unread(): number {
    return this.#unread;
  }

  get theme(): Theme {
    return themeOf(this) ?? 'auto';
  }

  set theme(theme: Theme) {
    this.setAttribute('theme', theme);
  }

  connectedCallback(): void {
    complete(this);
    this.#isAttached = true;
    this.#view.attach(this.#texts);
    this.#view.name(this.#heading);
    this.#page.observe(document.documentElement, { attributes: true });
    darkMode.addEventListener('change', this.#change);
    this.#showOrHide();
  }

  disconnectedCallback(): void {
    this.#isAttached = false;
    this.#page.disconnect();
    darkMode.removeEventListener('change', this.#change);
    this.#stop();
    this.#view.detach();
  }

  /** `moveBefore` keeps the frame as it is. */
  connectedMoveCallback(): void {
    this.#change();
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (before === after || !this.#isAttached) return;
    if (name === 'hidden') this.#showOrHide();
    else if (CHANGEABLE.includes(name)) this.#change();
    else this.#restart();
  }

  get #texts(): Texts {
    return textsFor(langOf(this), languagesOf(this));
  }

  get #heading(): string {
    return this.getAttribute('heading') || this.#texts.title;
  }

  /** Loads the chat, once. */
  #start(): void {
    if (!this.#load) void this.#begin((this.#load = {}));
  }

  async #begin(load: object): Promise<void> {
    this.#view.box.load(this.#texts, null);
    this.#paint();
    // Attributes that a framework sets right after inserting the element count too.
    await null;
    if (load !== this.#load) return;
    const base = apiBase(this.getAttribute('api-url'));
    const page = framePage(base);
    const pictureOf = (name: string) => pictureFor(this.getAttribute(name), page.origin);
    const [ticket, logo, avatar] = await Promise.all([this.#ticket(), pictureOf('logo'), pictureOf('avatar')]);
    if (load !== this.#load) return;
    if (ticket) page.searchParams.set('ticket', ticket);
    const memory = new BrowserStorage(`soloist:${base}:${this.getAttribute('storage-key') || 'default'}:`);
    this.#frame = new Frame(page, this.#heading, this.#tokens, memory, this.#listener(memory, page.origin, { logo, avatar }));
    this.#paint();
    this.#view.box.load(this.#texts, this.#frame.element);
    this.#takeFocus();
  }

  async #ticket(): Promise<string | null> {
    const url = this.getAttribute('token-url');
    if (url !== this.#tokenUrl || !this.#tokens) {
      // Navigation by script may change what a relative address means.
      const address = url && URL.canParse(url, document.baseURI) ? new URL(url, document.baseURI).href : url;
      this.#tokens = address ? new KeptTokens(() => sessionFrom(address)) : null;
      this.#tokenUrl = url;
    }
    // Without a session the chat itself tells the person what is wrong, if it may stand here without.
    const session = await this.#tokens?.session().catch((error: ApiError) => {
      console.error(`Soloist: ${url} gave no session (status ${error.status}).`);
      return null;
    });
    return session ? ticketOf(session.client_secret) : null;
  }

  #listener(memory: BrowserStorage, service: string, pictures: Pictures): FrameListener {
    return {
      settings: () => ({ ...this.#settings(memory), ...pictures }),
      onConnected: () => this.#view.box.reveal(),
      onReady: () => this.#ready(),
      onClose: () => this.#close(true),
      onUnread: (count) => this.#count(count),
      onEvent: (name, detail) => this.#tell(name, detail),
      onSilent: () => this.#fail(service),
    };
  }

  #settings(memory: BrowserStorage): Omit<Settings, keyof Pictures> {
    this.#told = JSON.stringify(changeableOf(this));
    return {
      ...settingsOf(this),
      isClosable: this.#view.isClosable,
      needsToken: this.#tokens !== null,
      memory: memory.all(),
    };
  }

  #ready(): void {
    this.#frame?.send({ type: 'shown', isShown: this.#isShown });
    for (const message of this.#waiting.splice(0)) this.#frame?.send(message);
    this.#tell('ready');
    this.#takeFocus();
  }

  /** Sends what only a chat that can be used understands, as soon as it can. */
  #send(message: ToApp): void {
    if (this.#frame?.isReady) this.#frame.send(message);
    else this.#waiting.push(message);
  }

  #fail(service: string): void {
    this.#view.box.fail(this.#texts);
    console.error(
      `Soloist: the chat of ${service} did not load in its frame: name this page's origin, ${location.origin}, in the ` +
        `service's CORS_ORIGINS or in the "origins" of its sessions, and if this page has a Content-Security-Policy, ` +
        `name ${service} in its frame-src.`,
    );
  }

  #stop(): void {
    this.#load = null;
    this.#frame?.end();
    this.#frame = null;
    this.#count(0);
  }

  #count(unread: number): void {
    if (unread === this.#unread) return;
    this.#unread = unread;
    this.#view.count(unread);
    this.#tell('unread', unread);
  }

  #restart(): void {
    this.#view.detach();
    this.#view.attach(this.#texts);
    this.#view.name(this.#heading);
    if (!this.#load) return;
    this.#stop();
    // Another storage key is another person.
    this.#tokens = null;
    this.#showOrHide();
  }

  #close(takesFocus: boolean): void {
    if (!this.#view.close()) return;
    this.#wantsFocus = false;
    this.#showOrHide();
    if (takesFocus) this.#view.focus();
    this.#tell('close');
  }

  /** The host may also set and remove `hidden` itself. */
  #showOrHide(): void {
    const isShown = this.#view.isOpen;
    if (isShown) this.#start();
    if (isShown !== this.#isShown && this.#frame?.isReady) this.#frame.send({ type: 'shown', isShown });
    this.#isShown = isShown;
  }

  readonly #change = (): void => {
    this.#view.name(this.#heading);
    this.#paint();
    if (!this.#frame) return;
    this.#frame.element.title = this.#heading;
    const settings: Changeable = changeableOf(this);
    const text = JSON.stringify(settings);
    if (text !== this.#told) this.#send({ type: 'change', settings });
    this.#told = text;
  };

  /** A frame whose colour scheme is not its page's gets an opaque white ground. */
  #paint(): void {
    const isDark = this.theme === 'dark' || (this.theme === 'auto' && darkMode.matches);
    this.#view.box.paint(isDark);
    if (this.#frame) this.#frame.element.style.colorScheme = isDark ? 'dark' : 'light';
  }

  #takeFocus(): void {
    if (!this.#wantsFocus || !this.#frame) return;
    this.#frame.element.focus();
    if (!this.#frame.isReady) return;
    this.#wantsFocus = false;
    this.#frame.send({ type: 'focus' });
  }

  #tell(name: string, detail: unknown = null): void {
    this.dispatchEvent(new CustomEvent(`soloist-${name}`, { detail, bubbles: true, composed: true }));
  }
}
