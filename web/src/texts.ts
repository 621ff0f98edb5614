// What the chat says by itself, in the languages it speaks.

const en = {
  language: 'en',
  title: 'Assistant',
  greeting: 'Hello! How can I help?',
  placeholder: 'Write a message',
  guideSuggestions: 'How do I set my OpenAI key?|How do I stream an answer?|How do I put the chat on my website?',
  send: 'Send',
  stop: 'Stop answering',
  attach: 'Attach files',
  removeFile: 'Remove this file',
  newConversation: 'New conversation',
  openChat: 'Open chat',
  closeChat: 'Close chat',
  toBottom: 'Jump to the newest message',
  messages: 'Conversation',
  sources: 'Sources',
  files: 'Files',
  download: 'Download {name}',
  file: 'file',
  copy: 'Copy',
  copied: 'Copied',
  tokens: '{total} tokens ({prompt} in, {completion} out)',
  conversationTokens: '{total} tokens',
  stopped: 'Stopped.',
  unfinished: 'The answer was stopped before its end.',
  answering: 'The assistant is answering.',
  answered: 'The assistant answered: {text}',
  reconnecting: 'The connection broke. Reconnecting…',
  uploading: 'Uploading…',
  lightTheme: 'Switch to light',
  darkTheme: 'Switch to dark',
  disclaimer: 'Answers come from a language model and can be wrong.',
  guideDisclaimer: 'Answers are quoted from Soloist’s documents.',
  embedded: 'Demo, no key set',
  offline: 'The service cannot be reached. Check your connection and try again.',
  lost: 'The connection was lost and the answer could not be recovered. Please ask again.',
  gone: 'This conversation no longer exists. Send your message again to start a new one.',
  noSession: 'You are not signed in to this chat. Reload the page and try again.',
  busy: 'Too many requests at the moment. Please wait a little and try again.',
  needsTool: 'The assistant asked for a tool that this page does not have.',
  lookingUp: 'Looking up {name}…',
  toolArguments: 'Arguments',
  toolResult: 'Result',
  approvalAsked: 'May the assistant call {name}?',
  approve: 'Approve',
  deny: 'Deny',
  incomplete: 'The answer ends here because it reached its length limit.',
  expired: 'The answer took too long and was given up.',
  modelFailed: 'The model failed during the run.',
  failed: 'Something went wrong. Please try again.',
  uploadFailed: '“{name}” could not be uploaded: {reason}',
};

export type Texts = typeof en;

const ko: Texts = {
  language: 'ko',
  title: '어시스턴트',
  greeting: '안녕하세요! 무엇을 도와드릴까요?',
  placeholder: '메시지를 입력하세요',
  guideSuggestions: 'API 키는 어떻게 설정하나요?|답변을 스트리밍하려면 어떻게 하나요?|웹사이트에 채팅을 넣으려면 어떻게 하나요?',
  send: '보내기',
  stop: '답변 중지',
  attach: '파일 첨부',
  removeFile: '이 파일 제거',
  newConversation: '새 대화',
  openChat: '채팅 열기',
  closeChat: '채팅 닫기',
  toBottom: '최근 메시지로 이동',
  messages: '대화',
  sources: '출처',
  files: '파일',
  download: '{name} 다운로드',
  file: '파일',
  copy: '복사',
  copied: '복사됨',
  tokens: '토큰 {total}개 (입력 {prompt}, 출력 {completion})',
  conversationTokens: '토큰 {total}개',
  stopped: '중지했습니다.',
  unfinished: '답변이 끝나기 전에 중지되었습니다.',
  answering: '어시스턴트가 답변하고 있습니다.',
  answered: '어시스턴트의 답변: {text}',
  reconnecting: '연결이 끊어졌습니다. 다시 연결하는 중…',
  uploading: '업로드 중…',
  lightTheme: '밝은 화면으로 전환',
  darkTheme: '어두운 화면으로 전환',
  disclaimer: '답변은 언어 모델이 생성하며 틀릴 수 있습니다.',
  guideDisclaimer: 'Soloist 문서에서 인용한 답변입니다.',
  embedded: '데모, 키 없음',
  offline: '서비스에 연결할 수 없습니다. 네트워크를 확인하고 다시 시도해 주세요.',
  lost: '연결이 끊겨 답변을 되찾지 못했습니다. 다시 질문해 주세요.',
  gone: '이 대화는 더 이상 존재하지 않습니다. 메시지를 다시 보내면 새 대화가 시작됩니다.',
  noSession: '이 채팅에 로그인되어 있지 않습니다. 페이지를 새로 고친 뒤 다시 시도해 주세요.',
  busy: '지금은 요청이 너무 많습니다. 잠시 후 다시 시도해 주세요.',
  needsTool: '어시스턴트가 이 페이지에 없는 도구를 요청했습니다.',
  lookingUp: '{name} 조회 중…',
  toolArguments: '인수',
  toolResult: '결과',
  approvalAsked: '어시스턴트가 {name} 도구를 호출해도 될까요?',
  approve: '승인',
  deny: '거부',
  incomplete: '길이 제한에 도달하여 답변이 여기서 끝납니다.',
  expired: '답변이 너무 오래 걸려 중단되었습니다.',
  modelFailed: '모델이 답변을 만들지 못했습니다. 다시 시도해 주세요.',
  failed: '문제가 발생했습니다. 다시 시도해 주세요.',
  uploadFailed: '“{name}” 파일을 업로드하지 못했습니다: {reason}',
};

/** The texts of a language tag, or of the browser's first language; English where we speak it not. */
export function textsFor(language: string | null | undefined): Texts {
  const tag = language || navigator.language || 'en';
  return tag.toLowerCase().startsWith('ko') ? ko : en;
}

/** Put values into `{name}` places; numbers are grouped as the browser's language does. */
export function fill(text: string, values: Record<string, string | number>): string {
  return text.replace(/\{(\w+)\}/g, (place, name: string) => {
    const value = values[name];
    if (value === undefined) return place;
    return typeof value === 'number' ? value.toLocaleString() : value;
  });
}
