// What answers have beyond GFM, as constructs for micromark: formulas, bare addresses, and a bound on marks.

import type { Extension as MdastExtension, Token } from 'mdast-util-from-markdown';
import type { Code, Construct, Effects, Extension, State, TokenizeContext } from 'micromark-util-types';
import { bareAddress } from './addresses';
import { displayEnd, formulaEnd } from './formulas';

declare module 'micromark-util-types' {
  interface TokenTypeMap {
    formula: 'formula';
    formulaLine: 'formulaLine';
    bareAddress: 'bareAddress';
  }
}

declare module 'mdast' {
  /** A formula with its delimiters. */
  interface Formula {
    type: 'formula';
    value: string;
    isDisplay: boolean;
  }
  interface RootContentMap {
    formula: Formula;
  }
  interface PhrasingContentMap {
    formula: Formula;
  }
}

/** Characters that mark something, in one paragraph, item or cell; further ones are shown as they are. */
const MOST_MARKS = 600;
const MARKS = '*_~`[]!<\\$';

/** Returns the constructs for one text, in whose end they look ahead: so nothing is begun that does not end. */
export function answerSyntax(text: string): Extension {
  const guard = { name: 'guard', tokenize: guarded(new WeakMap()) };
  const formula = { name: 'formula', tokenize: formulaIn(text) };
  const display = { name: 'display', tokenize: displayIn(text), concrete: true };
  const address = { name: 'bareAddress', tokenize: addressIn(text), previous: (code: Code) => !isAlphanumeric(code) };
  const inText: Record<number, Construct[]> = {};
  for (const mark of MARKS) inText[mark.charCodeAt(0)] = [guard];
  for (const opener of '\\$') inText[opener.charCodeAt(0)]?.push(formula);
  for (const letter of 'hHwW') inText[letter.charCodeAt(0)] = [address];
  return {
    text: inText,
    flow: { 36: display, 92: display },
    // Raw HTML is text. A line of dashes below a paragraph is a rule, as a list that is still being written would
    // make its introduction a heading for a moment.
    disable: { null: ['htmlFlow', 'htmlText', 'setextUnderline'] },
  };
}

/** The same constructs in the tree: `formula` nodes and links. */
export const answerNodes: MdastExtension = {
  enter: {
    formula(token) {
      this.enter({ type: 'formula', value: '', isDisplay: false }, token);
    },
    bareAddress(token: Token) {
      const address = this.sliceSerialize(token);
      const url = /^www/i.test(address) ? `https://${address}` : address;
      this.enter({ type: 'link', url, children: [{ type: 'text', value: address }] }, token);
    },
  },
  exit: {
    formulaLine(token) {
      const node = this.stack.at(-1);
      if (node?.type === 'formula') node.value += (node.value && '\n') + this.sliceSerialize(token);
    },
    formula(token) {
      const node = this.stack.at(-1);
      if (node?.type === 'formula') node.isDisplay = !node.value.startsWith('\\(');
      this.exit(token);
    },
    bareAddress(token) {
      this.exit(token);
    },
  },
};

type Tokenize = Construct['tokenize'];

/** Takes marks as characters once there are more than people write: what searches for their ends is quadratic. */
function guarded(counts: WeakMap<TokenizeContext, number>): Tokenize {
  return function (effects, ok, nok) {
    const context = this;
    let first: Code = null;
    let size = 0;
    const run: State = (code) => {
      if (code === first && code !== null) return consume(effects, code, () => (size++, run));
      const total = (counts.get(context) ?? 0) + size;
      counts.set(context, total);
      if (total <= MOST_MARKS) return nok(code);
      effects.exit('data');
      return ok(code);
    };
    return (code) => {
      effects.enter('data');
      first = code;
      return run(code);
    };
  };
}

function consume(effects: Effects, code: Code, next: () => State): State {
  effects.consume(code);
  return next();
}

function formulaIn(text: string): Tokenize {
  return function (effects, ok, nok) {
    const context = this;
    let end = 0;
    const between: State = (code) => {
      if (context.now().offset >= end) {
        effects.exit('formula');
        return ok(code);
      }
      if (code === null) return nok(code);
      if (!isLineEnding(code)) return enterLine(effects, line)(code);
      effects.enter('lineEnding');
      effects.consume(code);
      effects.exit('lineEnding');
      return between;
    };
    const line: State = (code) => {
      const isInside = context.now().offset < end && code !== null && !isLineEnding(code);
      if (isInside) return consume(effects, code, () => line);
      effects.exit('formulaLine');
      return between(code);
    };
    return (code) => {
      end = formulaEnd(text, context.now().offset);
      if (end < 0) return nok(code);
      effects.enter('formula');
      return between(code);
    };
  };
}

function displayIn(text: string): Tokenize {
  return function (effects, ok, nok) {
    const context = this;
    let end = 0;
    const between: State = (code) => {
      if (code === null || context.now().offset >= end) return after(code);
      return isLineEnding(code) ? effects.attempt(continued, between, after)(code) : enterLine(effects, line)(code);
    };
    const line: State = (code) => {
      if (code !== null && !isLineEnding(code)) return consume(effects, code, () => line);
      effects.exit('formulaLine');
      return between(code);
    };
    const after: State = (code) => {
      effects.exit('formula');
      return ok(code);
    };
    return (code) => {
      const { offset, column } = context.now();
      end = displayEnd(text, offset, column === 1);
      if (end < 0) return nok(code);
      effects.enter('formula');
      return context.interrupt ? after(code) : between(code);
    };
  };
}

function enterLine(effects: Effects, line: State): State {
  return (code) => {
    effects.enter('formulaLine');
    return line(code);
  };
}

function isLineEnding(code: Code): boolean {
  return code !== null && code < -2;
}

/** The next line of the same container. */
const continued: Construct = {
  partial: true,
  tokenize(effects, ok, nok) {
    const context = this;
    const lineStart: State = (code) => (context.parser.lazy[context.now().line] ? nok(code) : ok(code));
    return (code) => {
      if (code === null) return nok(code);
      effects.enter('lineEnding');
      effects.consume(code);
      effects.exit('lineEnding');
      return lineStart;
    };
  },
};

function addressIn(text: string): Tokenize {
  return function (effects, ok, nok) {
    const context = this;
    let end = 0;
    const inside: State = (code) => {
      if (context.now().offset >= end) {
        effects.exit('bareAddress');
        return ok(code);
      }
      return code === null || code < 0 ? nok(code) : consume(effects, code, () => inside);
    };
    return (code) => {
      const { offset } = context.now();
      const { length } = bareAddress(text, offset);
      if (!length) return nok(code);
      end = offset + length;
      effects.enter('bareAddress');
      return inside(code);
    };
  };
}

function isAlphanumeric(code: Code): boolean {
  return code !== null && code > 0 && /[\p{L}\p{N}]/u.test(String.fromCharCode(code));
}
