// The AI SDK's chat transports, as its documents show them for useChat.
import assert from "node:assert/strict";
import { DefaultChatTransport, readUIMessageStream, TextStreamChatTransport } from "ai";
import { baseURL, run } from "./report.mjs";

const textOf = (message) => message.parts.filter(({ type }) => type === "text").map(({ text }) => text).join("");
const said = (text, id = "u1") => ({ id, role: "user", parts: [{ type: "text", text }] });

const chat = new DefaultChatTransport({ api: `${baseURL}/chat` });

async function answer(messages, { transport = chat, expected = "" } = {}) {
  const stream = await transport.sendMessages({
    trigger: "submit-message", chatId: "chat-1", messageId: undefined, messages, abortSignal: undefined,
  });
  let last;
  const problems = [];
  const onError = (error) => problems.push(error);
  for await (const message of readUIMessageStream({ stream, onError })) last = message;
  assert.equal(String(problems[0] ?? ""), expected);
  return last;
}

async function live_text() {
  const message = await answer([said("Good morning")]);
  assert.equal(textOf(message), "You said: Good morning");
  assert.ok(message.id);
}

async function history() {
  const first = await answer([said("Good morning")]);
  const second = await answer([said("Good morning"), first, said("And again", "u2")]);
  assert.equal(textOf(second), "You said: And again");
}

async function plain_text() {
  const headers = { accept: "text/plain" };
  const transport = new TextStreamChatTransport({ api: `${baseURL}/chat`, headers });
  assert.equal(textOf(await answer([said("Good morning")], { transport })), "You said: Good morning");
}

async function errors() {
  await assert.rejects(() => answer([said("fail:server_error")]), /model failed/i);
}

async function chart() {
  const message = await answer([said("draw a chart of apples 3 pears 5")]);
  const file = message.parts.find(({ type }) => type === "file" || type === "source-document");
  assert.ok(file, JSON.stringify(message.parts));
}

async function tools_of_both() {
  const message = await answer([said("calls:2")]);
  const calls = message.parts.filter(({ type }) => type.startsWith("tool-") || type === "dynamic-tool");
  const found = Object.fromEntries(calls.map((part) => [part.toolName ?? part.type.slice("tool-".length), part]));
  assert.equal(found.look_up?.state, "output-available", JSON.stringify(message.parts));
  assert.match(JSON.stringify(found.look_up.output), /looked up/);
  assert.equal(found.get_weather?.state, "input-available", JSON.stringify(message.parts));
}

await run("ai", live_text, history, plain_text, errors, chart, tools_of_both);
