// What the launcher says by itself. The chat in the frame has words of its own.

const TEXTS = {
  en: {
    title: 'Assistant',
    open: 'Open chat',
    close: 'Close chat',
    unread: '{count} unread',
    loading: 'The chat is loading.',
    blocked: 'The chat cannot be shown here at the moment.',
  },
  ko: {
    title: '어시스턴트',
    open: '채팅 열기',
    close: '채팅 닫기',
    unread: '읽지 않은 메시지 {count}개',
    loading: '채팅을 불러오고 있습니다.',
    blocked: '지금은 여기에서 채팅을 열 수 없습니다.',
  },
};

export type Texts = (typeof TEXTS)['en'];

/** The words in the first of `wanted`, else of the browser's languages, that is known and among `allowed`. */
export function textsFor(wanted: string | null, allowed: string[] | null): Texts {
  const isAllowed = (name: string): name is keyof typeof TEXTS => Object.hasOwn(TEXTS, name) && (allowed?.includes(name) ?? true);
  const names = [wanted ?? '', ...navigator.languages, ...(allowed ?? [])].map((tag) => tag.split('-')[0]!.toLowerCase());
  return TEXTS[names.find(isAllowed) ?? 'en'];
}
