// A block of an answer as a tree.

import type { Root } from 'mdast';
import { fromMarkdown } from 'mdast-util-from-markdown';
import { gfmFootnoteFromMarkdown } from 'mdast-util-gfm-footnote';
import { gfmStrikethroughFromMarkdown } from 'mdast-util-gfm-strikethrough';
import { gfmTableFromMarkdown } from 'mdast-util-gfm-table';
import { gfmTaskListItemFromMarkdown } from 'mdast-util-gfm-task-list-item';
import { gfmFootnote } from 'micromark-extension-gfm-footnote';
import { gfmStrikethrough } from 'micromark-extension-gfm-strikethrough';
import { gfmTable } from 'micromark-extension-gfm-table';
import { gfmTaskListItem } from 'micromark-extension-gfm-task-list-item';
import { isCode } from './blocks';
import { answerNodes, answerSyntax } from './syntax';

// A block beyond these is shown as its characters, as the time for it would grow with their square.
const MOST_CHARACTERS = 100_000;
const TOO_DEEP = /^[ \t]*(?:(?:>|[*+-][ \t]|\d{1,9}[.)][ \t])[ \t]*){31}|^(?: {4}| {0,3}\t){25,}(?:[*+>-]|\d{1,9}[.)])/m;
const TOO_WIDE = /^(?:[^|\n]*\|){201}/m;

/** One tilde means "about"; two strike out. */
const GFM = [gfmTable(), gfmStrikethrough({ singleTilde: false }), gfmTaskListItem(), gfmFootnote()];
const NODES = [
  gfmTableFromMarkdown(),
  gfmStrikethroughFromMarkdown(),
  gfmTaskListItemFromMarkdown(),
  gfmFootnoteFromMarkdown(),
  answerNodes,
];

/** Parses a block; returns null for one that would take too long. */
export function parse(text: string): Root | null {
  if (text.length > MOST_CHARACTERS) return null;
  if (!isCode(text) && (TOO_DEEP.test(text) || TOO_WIDE.test(text))) return null;
  return fromMarkdown(text, { extensions: [...GFM, answerSyntax(text)], mdastExtensions: NODES });
}
