// Addresses in answers: which may be followed, which stand bare in the text, which say another place than they lead to.

/** Bare addresses; Hangul ends a host, as Korean puts particles right behind it. */
const BARE = /(?:https?:\/\/|www\.)[^\s<>|`"\\[\]/?#\p{Script=Hangul}、。，）」』】]{1,300}(?:[/?#][^\s<>|`"\\[\]、。，）」』】]{0,2000})?/iuy;
const FOLLOWED = new Set(['http:', 'https:', 'mailto:']);
const INVISIBLE = /[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;
const ADDRESS = /https?:\/\/[^\s<>"]+|^(?:[\p{L}\p{N}-]+\.)+\p{L}{2,}(?=[/:?#]|$)/iu;

/** Returns the bare address at an offset, without the punctuation that ends its sentence; '' if there is none. */
export function bareAddress(text: string, start: number): string {
  BARE.lastIndex = start;
  let found = BARE.exec(text)?.[0] ?? '';
  while (/[?!.,:;*_~'"}]$/.test(found) || (found.endsWith(')') && !isBalanced(found))) found = found.slice(0, -1);
  return /^(?:https?:\/\/|www\.)[^/?#]/i.test(found) ? found : '';
}

function isBalanced(text: string): boolean {
  return text.split('(').length >= text.split(')').length;
}

/** Returns an address that a person may follow, else null: no scripts, no data, nothing relative to this page. */
export function followed(address: string): URL | null {
  const url = URL.canParse(address) ? new URL(address) : null;
  return url && FOLLOWED.has(url.protocol) ? url : null;
}

/** Returns where a link really leads if its words name another place, else null. */
export function reallyLeadsTo(words: string, url: URL): string | null {
  const shown = words.replace(INVISIBLE, '').trim();
  if (url.protocol === 'mailto:') return shown.includes('@') && shown !== url.pathname ? url.pathname : null;
  if (url.username || url.password || url.hostname.includes('xn--')) return url.host;
  const said = ADDRESS.exec(shown)?.[0];
  if (said === undefined) return null;
  const named = /^https?:/i.test(said) ? said : `https://${said}`;
  const host = URL.canParse(named) ? new URL(named).hostname : '';
  return withoutWww(host) === withoutWww(url.hostname) ? null : url.host;
}

function withoutWww(host: string): string {
  return host.replace(/^www\./, '');
}
