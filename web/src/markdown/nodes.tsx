// A tree as what React shows.

import type { Definition, Image, ImageReference, Link, LinkReference, List, ListItem, Nodes, Parents, Table, TableRow } from 'mdast';
import { Fragment, use, type ReactNode } from 'react';
import { fill } from '../words';
import { followed, reallyLeadsTo } from './addresses';
import { Code } from './Code';
import { SharedContext } from './context';
import { Formula } from './Formula';

/** A number of a source, or an e-mail address. */
const MARKS = /(?<newline>\n)|\[(?<number>\d{1,3})\]|(?<![\w.+-])(?<mail>[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8})/g;
const LINE_BREAK = /<br ?\/?>/gi;
const LETTER = /\p{L}/u;
const RIGHT_TO_LEFT = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}\p{Script=Adlam}]/u;
const HANGUL = /\p{Script=Hangul}/u;
/** An answer's headings stand below those of the page. */
const HEADINGS = ['h3', 'h4', 'h5', 'h6'] as const;

export interface Place {
  definitions: ReadonlyMap<string, Definition>;
  /** From which offset on a block of code is still being written. */
  openFrom: number;
  isInLink?: boolean;
  isTight?: boolean;
  isInTable?: boolean;
}

/** Returns the definitions of a tree, by their identifiers; the first one counts. */
export function definitionsIn(node: Nodes, found = new Map<string, Definition>()): Map<string, Definition> {
  if (node.type === 'definition' && !found.has(node.identifier)) found.set(node.identifier, node);
  if ('children' in node) for (const child of node.children) definitionsIn(child, found);
  return found;
}

export function childrenOf(node: Parents, place: Place): ReactNode[] {
  return node.children.map((child, index) => <Fragment key={index}>{shown(child, place)}</Fragment>);
}

function shown(node: Nodes, place: Place): ReactNode {
  switch (node.type) {
    case 'text':
      return <Words text={node.value} {...place} />;
    case 'paragraph':
      return place.isTight ? childrenOf(node, place) : <p dir="auto">{childrenOf(node, place)}</p>;
    case 'heading': {
      const Heading = HEADINGS[Math.min(node.depth, HEADINGS.length) - 1] ?? 'h6';
      return <Heading dir="auto">{childrenOf(node, place)}</Heading>;
    }
    case 'emphasis':
      return <em>{childrenOf(node, place)}</em>;
    case 'strong':
      return <strong>{childrenOf(node, place)}</strong>;
    case 'delete':
      return <del>{childrenOf(node, place)}</del>;
    case 'break':
      return <br />;
    case 'thematicBreak':
      return <hr />;
    case 'blockquote':
      return <blockquote dir={directionOf(node)}>{childrenOf(node, { ...place, isTight: false })}</blockquote>;
    case 'list':
      return shownList(node, place);
    case 'table':
      return <ShownTable node={node} place={place} />;
    case 'inlineCode':
      return <code dir="ltr">{node.value}</code>;
    case 'code': {
      const isOpen = (node.position?.end.offset ?? 0) >= place.openFrom;
      return <Code code={node.value} language={node.lang ?? ''} isOpen={isOpen} />;
    }
    case 'formula':
      return <Formula key={node.value} source={node.value} isDisplay={node.isDisplay} />;
    case 'link':
      return shownLink(node, node.url, place);
    case 'linkReference':
      return shownLink(node, place.definitions.get(node.identifier)?.url ?? '', place);
    case 'image':
      return <Picture node={node} address={node.url} isInLink={place.isInLink} />;
    case 'imageReference':
      return <Picture node={node} address={place.definitions.get(node.identifier)?.url ?? ''} isInLink={place.isInLink} />;
    case 'footnoteReference':
      return <sup>[{node.label ?? node.identifier}]</sup>;
    case 'footnoteDefinition':
      return (
        <div className="md-footnote" dir="auto">
          <sup>[{node.label ?? node.identifier}]</sup> {childrenOf(node, { ...place, isTight: node.children.length === 1 })}
        </div>
      );
    case 'html':
      return node.value;
    default:
      return null;
  }
}

/** Text with its line breaks, marks of sources and e-mail addresses. */
function Words({ text, isInLink = false, isInTable = false }: { text: string; isInLink?: boolean; isInTable?: boolean }) {
  const written = isInTable ? text.replace(LINE_BREAK, '\n') : text;
  const parts: ReactNode[] = [];
  let from = 0;
  for (const { 0: match, index, groups = {} } of written.matchAll(MARKS)) {
    if (isInLink && !groups.newline) continue;
    parts.push(written.slice(from, index), <Mark key={index} match={match} number={groups.number} mail={groups.mail} />);
    from = index + match.length;
  }
  return [...parts, written.slice(from)];
}

function Mark({ match, number, mail }: { match: string; number?: string; mail?: string }) {
  if (number) return <SourceMark number={Number(number)} />;
  return mail ? <a href={`mailto:${mail}`}>{mail}</a> : match === '\n' ? <br /> : match;
}

/** `[n]`: leads to source n if there is one. */
function SourceMark({ number }: { number: number }) {
  const { words, sources, onSource } = use(SharedContext)!;
  const source = sources.find((other) => other.number === number);
  if (!source) return `[${number}]`;
  const name = source.title || source.filename || source.url || '';
  return (
    <button type="button" className="md-source" aria-label={fill(words.source, { number, name })} title={name} onClick={() => onSource(number)}>
      {number}
    </button>
  );
}

function shownList(node: List, place: Place): ReactNode {
  const isTight = !node.spread && node.children.every((item) => !item.spread);
  const items = node.children.map((item, index) => shownItem(item, index, { ...place, isTight }));
  return node.ordered ? (
    <ol dir={directionOf(node)} start={node.start ?? 1}>
      {items}
    </ol>
  ) : (
    <ul dir={directionOf(node)}>{items}</ul>
  );
}

function shownItem(item: ListItem, index: number, place: Place): ReactNode {
  if (typeof item.checked !== 'boolean') return <li key={index}>{childrenOf(item, place)}</li>;
  return (
    <li key={index} className="md-task">
      <input type="checkbox" disabled checked={item.checked} readOnly aria-label={plain(item).trim() || String(index + 1)} />
      <div>{childrenOf(item, place)}</div>
    </li>
  );
}

function ShownTable({ node, place }: { node: Table; place: Place }) {
  const { words } = use(SharedContext)!;
  const [head, ...rows] = node.children;
  const inside = { ...place, isTight: true, isInTable: true };
  return (
    <div className="md-table" role="group" tabIndex={0} aria-label={words.table}>
      <table dir={directionOf(node)}>
        {head && <thead>{shownRow(head, 'th', node, inside)}</thead>}
        {rows.length > 0 && <tbody>{rows.map((row, index) => <Fragment key={index}>{shownRow(row, 'td', node, inside)}</Fragment>)}</tbody>}
      </table>
    </div>
  );
}

function shownRow(row: TableRow, Cell: 'th' | 'td', { align, children }: Table, place: Place): ReactNode {
  const cells = row.children.slice(0, children[0]?.children.length).map((cell, index) => {
    const classes = [align?.[index] && `md-${align[index]}`, HANGUL.test(plain(cell)) && 'md-hangul'];
    return (
      <Cell key={index} dir="auto" scope={Cell === 'th' ? 'col' : undefined} className={classes.filter(Boolean).join(' ') || undefined}>
        {childrenOf(cell, place)}
      </Cell>
    );
  });
  return <tr>{cells}</tr>;
}

function shownLink(node: Link | LinkReference, address: string, place: Place): ReactNode {
  const url = followed(address);
  const content = childrenOf(node, { ...place, isInLink: true });
  if (!url || place.isInLink) return content;
  const host = reallyLeadsTo(plain(node), url);
  return (
    <>
      <a href={url.href} title={url.href} target="_blank" rel="noopener noreferrer">
        {content}
      </a>
      {host && (
        <bdi className="md-host" dir="ltr">
          {' '}
          ({host})
        </bdi>
      )}
    </>
  );
}

/** A picture by a link: nothing is loaded from elsewhere before a person asks for it. */
function Picture({ node, address, isInLink = false }: { node: Image | ImageReference; address: string; isInLink?: boolean }) {
  const { words } = use(SharedContext)!;
  const url = followed(address);
  if (isInLink || !url?.host || url.host === location.host) return node.alt ?? '';
  return (
    <a className="md-picture" href={url.href} title={url.href} target="_blank" rel="noopener noreferrer">
      {words.picture}: {node.alt} ({url.host})
    </a>
  );
}

/** The words of a node, without its marks. */
function plain(node: Nodes): string {
  if ('children' in node) return node.children.map(plain).join('');
  if ('value' in node) return node.value;
  return 'alt' in node ? (node.alt ?? '') : '';
}

/** The direction of a node's first letter: `auto` would not look into children that have a direction themselves. */
function directionOf(node: Nodes): 'ltr' | 'rtl' | undefined {
  if (node.type === 'text') {
    const letter = LETTER.exec(node.value)?.[0];
    return letter === undefined ? undefined : RIGHT_TO_LEFT.test(letter) ? 'rtl' : 'ltr';
  }
  if (!('children' in node)) return undefined;
  for (const child of node.children) {
    const found = directionOf(child);
    if (found) return found;
  }
  return undefined;
}
