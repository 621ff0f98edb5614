// How deep-chat looks here. Every colour is a custom property, so a page themes the chat from outside.

import type { DeepChat } from 'deep-chat';
import { ICONS } from './icons';

const AUXILIARY = `
:host { display: block; }
#chat-view { display: grid; grid-template-rows: 1fr auto; }
#messages { padding: 20px max(16px, calc((100% - var(--_column)) / 2)) 8px; scrollbar-width: thin; box-sizing: border-box; }
#messages:focus-visible { outline: 2px solid var(--_accent); outline-offset: -2px; }
.message-bubble { line-height: 1.55; font-size: 1em; overflow-wrap: anywhere; }
.message-bubble a { color: var(--_link); text-underline-offset: 2px; }
.message-bubble p, .message-bubble ul, .message-bubble ol { margin-block: .6em; }
.message-bubble > :first-child { margin-top: 0; }
.message-bubble > :last-child { margin-bottom: 0; }
.message-bubble h1, .message-bubble h2, .message-bubble h3 { font-size: 1.1em; margin: 1em 0 .4em; line-height: 1.3; }
.message-bubble ul, .message-bubble ol { padding-inline-start: 1.5em; }
.message-bubble blockquote { margin: .6em 0; padding: .1em 0 .1em .9em; border-inline-start: 3px solid var(--_border); color: var(--_muted); }
.message-bubble blockquote > :first-child { margin-top: 0; }
.message-bubble blockquote > :last-child { margin-bottom: 0; }
.ai-message-text blockquote br { display: none; }
.message-bubble code { background: var(--_code); border-radius: 5px; padding: .12em .35em; font: .9em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.message-bubble pre { background: var(--_code); border: 1px solid var(--_border); border-radius: 10px; padding: 12px 14px; overflow-x: auto; margin: .7em 0; color: var(--_text); word-break: normal; }
.message-bubble pre code { background: none; padding: 0; border-radius: 0; white-space: pre; }
.message-bubble table { border-collapse: collapse; display: block; overflow-x: auto; margin: .7em 0; max-width: 100%; }
.message-bubble th, .message-bubble td { border: 1px solid var(--_border); padding: .35em .7em; text-align: start; }
.message-bubble th { background: var(--_code); }
.message-bubble img { border-radius: 10px; }
.user-message-text code { background: rgb(127 127 127 / .25); }
#messages:not(:has(.outer-message-container:not(.deep-chat-intro))) { display: grid; align-content: center; }
#messages:has(.outer-message-container:not(.deep-chat-intro)) .deep-chat-intro { display: none; }
.intro { text-align: center; padding: 8px; color: var(--_text); }
.intro p { margin: 0 auto; max-width: 32em; color: var(--_muted); }
.intro p:first-child { color: var(--_text); font-size: 1.15em; }
.intro p.name { color: var(--_text); font-size: 1.5em; font-weight: 650; line-height: 1.3; margin: 0 auto .3em; }
.intro p.name::before { content: ''; display: block; width: 44px; height: 44px; margin: 0 auto 14px; border-radius: 13px;
  background: radial-gradient(circle, var(--_accent-text) 0 26%, var(--_accent) 28%); }
.intro .suggestions { display: flex; flex-wrap: wrap; justify-content: center; gap: 8px; margin-top: 22px; }
.intro button { padding: 9px 15px; border: 1px solid var(--_border); border-radius: 99px; background: var(--_input); color: var(--_text); font: inherit; font-size: .93em; cursor: pointer; }
.intro button:hover { border-color: var(--_accent); background: var(--_surface); }
.intro button:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
.meta { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 8px; font-size: .82em; color: var(--_muted); }
.meta .label { font-weight: 600; }
.meta .sources { display: flex; flex-wrap: wrap; align-items: center; gap: 6px; flex-basis: 100%; list-style: none; padding: 0; margin: 0; }
.meta .chip { display: inline-flex; align-items: center; gap: .35em; max-width: 100%; box-sizing: border-box; padding: .25em .7em; border: 1px solid var(--_border);
  border-radius: 99px; background: var(--_surface); color: var(--_text); font: inherit; text-decoration: none; overflow-wrap: anywhere; }
.meta button { cursor: pointer; }
.meta .plain { display: inline-flex; align-items: center; gap: .4em; border: 0; border-radius: 8px; background: none; color: var(--_muted);
  padding: .25em .5em; margin-inline-start: -.5em; font: inherit; }
.meta .plain svg { width: 1.15em; height: 1.15em; }
.meta .plain:hover { background: var(--_code); color: var(--_text); }
.meta .chip:is(button, a):hover { border-color: var(--_accent); }
.meta.tools pre { flex-basis: 100%; max-height: 16em; margin: 4px 0; padding: 8px 12px; overflow: auto; border-radius: 8px; background: var(--_code); color: var(--_text); }
.meta.tools details { flex-basis: 100%; }
.meta.tools summary { cursor: pointer; }
.meta button:disabled { cursor: default; opacity: .6; }
.meta .chip.chosen { border-color: var(--_accent); opacity: 1; }
.meta :focus-visible, .message-bubble a:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; border-radius: 6px; }
.attached { display: flex; flex-wrap: wrap; gap: 6px; justify-content: flex-end; }
#file-attachment-container:empty { display: none !important; }
.file-attachment { background: var(--_bg); color: var(--_text); border-radius: 9px; vertical-align: top; }
.file-attachment:has(.any-file-attachment-text) { width: auto; max-width: 14em; }
.border-bound-attachment { width: auto; height: 100%; box-sizing: border-box; border-color: var(--_border); border-radius: 9px; }
.image-attachment { border-radius: 9px; }
.file-attachment-text-container { position: static; width: auto; padding: 0 22px 0 12px; box-sizing: border-box; }
.any-file-attachment-text { font-size: .87em; }
.remove-file-attachment-button { background: var(--_text); border-color: var(--_surface); }
.remove-file-attachment-button:hover { background: var(--_muted); }
.remove-file-attachment-button:focus-visible { outline: 2px solid var(--_accent); outline-offset: 1px; }
.x-icon { color: var(--_bg); }
.any-file-message-icon-container { display: none; }
.any-file-message-text { padding: 0; }
.outer-message-container:not(.deep-chat-intro) + .outer-message-container:has(.user-message-text) { margin-top: 18px; }
.outer-message-container:has(.user-message-text) + .outer-message-container:has(.user-message-text) { margin-top: 0; }
.deep-chat-outer-container-role-error .inner-message-container { width: 100%; }
.error-message-text { margin-inline: 0 auto; }
.message-bubble:lang(ko) { word-break: keep-all; }
#text-input { font: inherit; color: var(--_text); min-height: 1.5em; line-height: 1.5; padding: 13px 52px 13px 52px; box-sizing: border-box; max-height: 180px; }
#text-input-container:focus-within { border-color: var(--_accent); box-shadow: 0 0 0 3px color-mix(in srgb, var(--_accent) 22%, transparent); }
#text-input[deep-chat-placeholder-text]:empty:before, #text-input:empty:before { color: var(--_muted); }
.inside-end, .inside-start { inset-block-end: 20px; }
.inside-end { inset-inline-end: 8px; }
.inside-start { inset-inline-start: 8px; }
.input-button { display: grid; place-items: center; box-sizing: border-box; }
.input-button:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
.input-button svg { width: 20px; height: 20px; }
@media (prefers-reduced-motion: reduce) { * { animation-duration: .01ms !important; scroll-behavior: auto !important; } }
`;

// deep-chat leaves a state's styles behind where the next one does not name them; so each names its opacity.
const round = { width: '34px', height: '34px', borderRadius: '50%', margin: '0', padding: '0', opacity: '1' };
const sending = { ...round, backgroundColor: 'var(--_accent)', color: 'var(--_accent-text)' };

function button(content: string, container: Record<string, string>, hover: Record<string, string>) {
  return { container: { default: container, hover }, svg: { content, styles: { default: { filter: 'none' } } } };
}

const bubble = { maxWidth: '100%', borderRadius: '18px', padding: '10px 15px', marginTop: '0', marginBottom: '0' };
const plain = { ...bubble, backgroundColor: 'transparent', color: 'var(--_text)', padding: '2px 0', width: '100%' };

const SIZE = {
  display: 'block',
  width: '100%',
  height: '100%',
  border: '0 solid transparent',
  backgroundColor: 'transparent',
  fontSize: 'var(--_font-size)',
};

/** Dresses a chat; must come before it is attached. */
export function dress(chat: DeepChat): void {
  // deep-chat loads a web font from elsewhere unless it finds an inline family.
  chat.style.fontFamily = 'var(--_font)';
  Object.assign(chat.style, SIZE);
  chat.auxiliaryStyle = AUXILIARY;
  chat.messageStyles = {
    default: {
      shared: { innerContainer: { marginBlock: '7px', width: '100%' }, bubble },
      ai: { bubble: plain },
      user: { bubble: { backgroundColor: 'var(--_user)', color: 'var(--_user-text)', maxWidth: '85%' } },
    },
    html: { shared: { innerContainer: { width: '100%' }, bubble: { ...plain, color: 'var(--_muted)' } } },
    image: { shared: { bubble: { padding: '0', backgroundColor: 'transparent' }, media: { maxWidth: 'min(420px, 100%)', maxHeight: '320px', objectFit: 'contain' } } },
    file: { shared: { bubble: { backgroundColor: 'var(--_surface)', color: 'var(--_text)' } } },
    error: {
      bubble: { ...bubble, backgroundColor: 'var(--_error)', color: 'var(--_error-text)', maxWidth: '100%', textAlign: 'start', fontSize: '1em' },
    },
    loading: { message: { styles: { bubble: { ...bubble, width: 'auto', padding: '14px 22px', backgroundColor: 'var(--_surface)', color: 'var(--_muted)' } } } },
  };
  chat.inputAreaStyle = { padding: '0 max(12px, calc((100% - var(--_column)) / 2))', boxSizing: 'border-box' };
  chat.submitButtonStyles = {
    position: 'inside-end',
    submit: button(ICONS.send, sending, { filter: 'brightness(1.1)' }),
    stop: button(ICONS.stop, { ...sending, backgroundColor: 'var(--_text)', color: 'var(--_bg)' }, { filter: 'none' }),
    loading: button(ICONS.stop, { ...sending, opacity: '.5' }, {}),
    disabled: button(ICONS.send, { ...round, backgroundColor: 'var(--_border)', color: 'var(--_muted)' }, {}),
  };
  chat.attachmentContainerStyle = {
    left: '0',
    right: '0',
    width: 'auto',
    height: 'auto',
    top: '-3.9em',
    padding: '4px 12px 0',
    margin: '0 max(12px, calc((100% - var(--_column)) / 2))',
    border: '1px solid var(--_border)',
    borderRadius: '16px',
    backgroundColor: 'var(--_surface)',
    color: 'var(--_text)',
    boxSizing: 'border-box',
  };
  chat.scrollButton = {
    content: ICONS.down,
    styles: { default: { backgroundColor: 'var(--_surface)', color: 'var(--_text)', border: '1px solid var(--_border)' } },
  };
}

export const attachButton = {
  position: 'inside-start' as const,
  styles: button(ICONS.attach, { ...round, color: 'var(--_muted)', backgroundColor: 'transparent' }, { backgroundColor: 'var(--_code)' }),
};

export function textInputStyle(placeholder: string) {
  return {
    placeholder: { text: placeholder, style: { color: 'var(--_muted)' } },
    styles: {
      container: {
        width: '100%',
        margin: '8px 0 12px',
        borderRadius: '26px',
        border: '1px solid var(--_border)',
        backgroundColor: 'var(--_input)',
        boxShadow: 'none',
        minHeight: '50px',
        boxSizing: 'border-box',
      },
    },
  };
}
