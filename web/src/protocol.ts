// What the launcher on a host page and the app in its frame tell each other, over one MessageChannel.
//
// The app posts `{soloist: 'hello', version}` to its parent; the launcher answers with `{soloist: 'connect',
// version}` and a port, addressed to the app's origin alone. All else goes over that port. A side ignores
// messages whose type it does not know, so that two versions understand each other.

export const VERSION = 1;

export interface Hello {
  soloist: 'hello';
  version: number;
}

export interface Connect {
  soloist: 'connect';
  version: number;
}

export interface Session {
  client_secret: string;
  /** Unix time in seconds. */
  expires_at: number;
}

export type Theme = 'light' | 'dark' | 'auto';

/** What attributes of the script tag or the element say; null where they say nothing. */
export interface Settings {
  heading: string | null;
  greeting: string | null;
  suggestions: string[] | null;
  lang: string | null;
  theme: Theme | null;
  logo: string | null;
  avatar: string | null;
  disclaimer: string | null;
  uploads: boolean | null;
  languages: string[] | null;
  onDisconnect: 'finish' | 'detach' | null;
  /** Values of the host's `--soloist-*` custom properties, by their names without the prefix. */
  colours: Record<string, string>;
  /** Whether the app shows a button that closes it. */
  isClosable: boolean;
  /** Whether a session token is to be asked for. */
  needsToken: boolean;
  /** What the host's storage remembers, by keys such as `thread`; values are text. */
  memory: Record<string, string>;
}

export type ToApp =
  | { type: 'setup'; settings: Settings }
  | { type: 'token'; id: number; session: Session }
  /** `status` is that of the host's backend; 0 if it could not be reached. */
  | { type: 'no-token'; id: number; status: number }
  /** Attributes or custom properties that changed. */
  | { type: 'change'; settings: Partial<Pick<Settings, 'heading' | 'theme' | 'colours'>> }
  /** What another tab of the host has remembered; null where it has forgotten it. */
  | { type: 'remembered'; key: string; value: string | null }
  | { type: 'ask'; text: string }
  | { type: 'new' }
  | { type: 'focus' }
  /** Whether a person can see the app; answers that end unseen are counted. */
  | { type: 'shown'; isShown: boolean };

export type ToHost =
  /** The composer can be used. */
  | { type: 'ready' }
  | { type: 'token'; id: number; isRenewal: boolean }
  | { type: 'remember'; key: string; value: string | null }
  | { type: 'close' }
  | { type: 'unread'; count: number }
  | { type: 'event'; name: HostEvent; detail: unknown };

/** Dispatched on the host's element as `soloist-NAME`; none holds what anybody wrote. */
export type HostEvent = 'thread' | 'question' | 'answer' | 'error' | 'tokens';
