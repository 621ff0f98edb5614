// What tools did for an answer, and the question whether one may be called.

import type { ToolEvent, WaitingCall } from '../service/wire';
import { fill } from '../words';
import { useShared, useWords } from './context';
import type { DecidedCall, ShownMessage } from './shown';

export function Tools({ message }: { message: ShownMessage }) {
  const words = useWords();
  const isRunning = message.status === 'running';
  const active = message.tools.findLast(({ status }) => status === 'in_progress');
  const told = message.tools.filter(({ input, output }) => Object.keys(input ?? {}).length > 0 || output !== undefined);
  return (
    <>
      {message.decided.map((call) => (
        <Decided key={call.id} call={call} />
      ))}
      {told.map((tool) => (
        <Call key={tool.id} tool={tool} />
      ))}
      {isRunning && active && <p className="note">{fill(words.lookingUp, { name: active.name })}</p>}
    </>
  );
}

function Call({ tool }: { tool: ToolEvent }) {
  const words = useWords();
  return (
    <details className="fold">
      <summary>{tool.name}</summary>
      <Block label={words.toolArguments} text={pretty(tool.input)} />
      {tool.output !== undefined && <Block label={words.toolResult} text={resultOf(tool.output)} />}
    </details>
  );
}

function Decided({ call }: { call: DecidedCall }) {
  const words = useWords();
  const sentence = call.output === 'approve' ? words.approved : words.denied;
  return (
    <details className="fold">
      <summary>{fill(sentence, { name: call.name })}</summary>
      <Block label={words.toolArguments} text={readableJson(call.arguments)} />
    </details>
  );
}

export function Approvals({ message }: { message: ShownMessage }) {
  const isAsked = message.status === 'requires_action' && message.calls.every(({ approval }) => approval === 'required');
  return isAsked ? message.calls.map((call) => <Approval key={call.id} call={call} message={message} />) : null;
}

function Approval({ call, message }: { call: WaitingCall; message: ShownMessage }) {
  const words = useWords();
  const { conversation } = useShared();
  const question = fill(words.approvalAsked, { name: call.name });
  const decided = message.decisions.find(({ tool_call_id: id }) => id === call.id)?.output;
  return (
    <div className="approval" role="group" aria-label={question}>
      <p>{question}</p>
      <Block label={words.toolArguments} text={readableJson(call.arguments)} />
      <div className="chips">
        {(['approve', 'deny'] as const).map((decision) => (
          <button
            key={decision}
            type="button"
            className={decision === 'approve' ? 'chip accent' : 'chip'}
            disabled={!!decided}
            aria-pressed={decided === decision}
            onClick={() => void conversation.decide(call.id, decision)}
          >
            {words[decision]}
          </button>
        ))}
      </div>
    </div>
  );
}

function Block({ label, text }: { label: string; text: string }) {
  return (
    <>
      <span className="label">{label}</span>
      <pre tabIndex={0} dir="ltr">
        {text}
      </pre>
    </>
  );
}

function pretty(value: unknown): string {
  return JSON.stringify(value, null, 2) ?? '';
}

function resultOf(output: unknown): string {
  const text = (output as { output?: unknown } | null)?.output;
  return typeof text === 'string' ? readableJson(text) : pretty(output);
}

function readableJson(text: string): string {
  try {
    return pretty(JSON.parse(text));
  } catch {
    return text;
  }
}
