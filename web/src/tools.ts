// What the page shows of tools: a fold for each call, and the question whether a call may be made.

import { escapeHtml } from './render';
import { fill, type Texts } from './texts';

/** A call as the event `tool` tells it; without arguments and result where the operator hides them. */
export interface ToolEvent {
  id: string;
  name: string;
  status: string;
  input: Record<string, unknown>;
  output?: unknown;
}

/** A call that a run waits for. */
export interface WaitingCall {
  id: string;
  name: string;
  arguments: string;
  approval?: 'required';
}

export interface Decision {
  tool_call_id: string;
  output: 'approve' | 'deny';
}

/** Folds for the calls that tell more than their name. */
export function toolsHtml(tools: ToolEvent[], texts: Texts): string {
  const told = tools.filter(({ input, output }) => Object.keys(input ?? {}).length || output);
  const folds = told.map(({ name, input, output }) => {
    const parts = [block(texts.toolArguments, pretty(input)), output ? block(texts.toolResult, resultOf(output)) : ''];
    return `<details><summary>${escapeHtml(name)}</summary>${parts.join('')}</details>`;
  });
  return folds.length ? `<div class="meta tools">${folds.join('')}</div>` : '';
}

/** Whether the page can answer all that a run waits for. */
export function areApprovals(calls: WaitingCall[]): boolean {
  return calls.length > 0 && calls.every(({ approval }) => approval === 'required');
}

/** The question whether a call may be made, with its exact arguments. */
export function approvalHtml(call: WaitingCall, texts: Texts): string {
  const buttons = (['approve', 'deny'] as const).map(
    (decision) => `<button class="chip" data-decision="${decision}" data-call="${escapeHtml(call.id)}">${texts[decision]}</button>`,
  );
  const question = fill(texts.approvalAsked, { name: call.name });
  return `<div class="meta tools" role="group" aria-label="${escapeHtml(question)}"><span>${escapeHtml(question)}</span>${block(
    texts.toolArguments,
    readableJson(call.arguments),
  )}${buttons.join('')}</div>`;
}

function block(label: string, text: string): string {
  return `<span class="label">${label}</span><pre tabindex="0">${escapeHtml(text)}</pre>`;
}

function pretty(value: unknown): string {
  return JSON.stringify(value, null, 2);
}

function resultOf(output: unknown): string {
  const text = (output as { output?: unknown }).output;
  return typeof text === 'string' ? readableJson(text) : pretty(output);
}

function readableJson(text: string): string {
  try {
    return pretty(JSON.parse(text));
  } catch {
    return text;
  }
}
