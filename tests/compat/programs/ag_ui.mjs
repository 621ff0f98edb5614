// @ag-ui/client's HttpAgent, as its documents show it.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { HttpAgent } from "@ag-ui/client";
import { baseURL, run } from "./report.mjs";

const ask = (agent, content) => {
  agent.addMessage({ id: randomUUID(), role: "user", content });
  return agent.runAgent();
};

async function live_text() {
  const agent = new HttpAgent({ url: `${baseURL}/ag-ui` });
  const { newMessages } = await ask(agent, "Good morning");
  assert.deepEqual(newMessages.map(({ role, content }) => [role, content]), [["assistant", "You said: Good morning"]]);
}

async function history() {
  const agent = new HttpAgent({ url: `${baseURL}/ag-ui` });
  await ask(agent, "My name is Mina");
  await ask(agent, "Good morning");
  assert.equal(agent.messages.at(-1).content, "You said: Good morning");
  assert.equal(agent.messages.length, 4);
}

async function function_calls() {
  const agent = new HttpAgent({ url: `${baseURL}/ag-ui` });
  const { newMessages } = await ask(agent, "use a tool");
  const call = newMessages.flatMap(({ toolCalls }) => toolCalls ?? [])[0];
  assert.equal(call?.function.name, "get_weather");
  agent.addMessage({ id: randomUUID(), role: "tool", toolCallId: call.id, content: "sunny" });
  const answered = await agent.runAgent();
  assert.match(answered.newMessages.at(-1).content, /sunny/);
}

async function tools_of_both() {
  const agent = new HttpAgent({ url: `${baseURL}/ag-ui` });
  // The client checks the order of all events, and fails the run where one is out of place.
  const { newMessages } = await ask(agent, "calls:2");
  const calls = newMessages.flatMap(({ toolCalls }) => toolCalls ?? []);
  assert.deepEqual(calls.map((call) => call.function.name).sort(), ["get_weather", "look_up"]);
  const own = calls.find((call) => call.function.name === "look_up");
  assert.match(newMessages.find(({ role, toolCallId }) => role === "tool" && toolCallId === own.id)?.content, /looked up/);
}

async function errors() {
  const heard = [];
  const agent = new HttpAgent({ url: `${baseURL}/ag-ui` });
  agent.addMessage({ id: randomUUID(), role: "user", content: "fail:server_error" });
  await agent.runAgent({}, { onRunErrorEvent: ({ event }) => heard.push(event.message) }).catch(() => {});
  assert.equal(heard.length, 1);
}

await run("@ag-ui/client", live_text, history, function_calls, tools_of_both, errors);
