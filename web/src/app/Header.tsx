// Who answers, and what a person can do with the whole conversation.

import { useState } from 'react';
import { fill } from '../words';
import { useConversation, useShared, useWords } from './context';
import { useSaving } from './files';
import { focusComposer } from './focus';
import { Icon, type IconName } from './icons';
import { tokensOf } from './shown';
import { isDark, setTheme } from './theme';

interface Props {
  hasList: boolean;
  onList: () => void;
  onAbout: () => void;
}

export function Header({ hasList, onList, onAbout }: Props) {
  const words = useWords();
  const { config, appearance, conversation, close } = useShared();
  const { threadId } = useConversation();
  const isPage = config.mode === 'page';
  const startAnew = () => {
    void conversation.restart();
    focusComposer();
  };
  return (
    <header className="header">
      <Button icon="list" label={hasList ? words.hideConversations : words.showConversations} onClick={onList} isPressed={hasList} />
      {appearance.logo && <img className="logo" src={appearance.logo} alt="" />}
      <div className="who">
        <h1>{appearance.title ?? words.title}</h1>
        {isPage && <Model />}
      </div>
      {isPage && <Tokens />}
      {threadId && <DownloadConversation threadId={threadId} />}
      <Button icon="info" label={words.about} onClick={onAbout} />
      {isPage && <ThemeButton />}
      <Button icon="plus" label={words.newConversation} onClick={startAnew} />
      {close && <Button icon="close" label={words.closeChat} onClick={close} />}
    </header>
  );
}

function Button(props: { icon: IconName; label: string; onClick: () => void; isPressed?: boolean }) {
  return (
    <button
      type="button"
      className="round"
      aria-label={props.label}
      aria-expanded={props.isPressed}
      title={props.label}
      onClick={props.onClick}
    >
      <Icon name={props.icon} />
    </button>
  );
}

function Model() {
  const words = useWords();
  const { config } = useShared();
  const isDemo = config.upstream === 'embedded';
  return (
    <p>
      <span className="model">{isDemo ? config.model : `${config.model} · ${config.upstream}`}</span>
      {isDemo && <span className="demo">{words.demo}</span>}
    </p>
  );
}

function Tokens() {
  const words = useWords();
  const tokens = tokensOf(useConversation().messages);
  return tokens ? <output className="tokens">{fill(words.conversationTokens, { total: tokens })}</output> : null;
}

function DownloadConversation({ threadId }: { threadId: string }) {
  const words = useWords();
  const { api } = useShared();
  const [start, complaint] = useSaving(() => api.markdown(threadId), `${threadId}.md`);
  return (
    <>
      <Button icon="download" label={words.downloadConversation} onClick={start} />
      {complaint}
    </>
  );
}

function ThemeButton() {
  const words = useWords();
  const [dark, setDark] = useState(isDark());
  const toggle = () => {
    setTheme(dark ? 'light' : 'dark');
    setDark(!dark);
  };
  return <Button icon={dark ? 'sun' : 'moon'} label={dark ? words.lightTheme : words.darkTheme} onClick={toggle} />;
}
