// openai-node as its documents show it: threads, polled and streamed runs, functions, files, charts.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import OpenAI, { toFile } from "openai";
import { baseURL, run } from "./report.mjs";

const major = Number(JSON.parse(readFileSync("node_modules/openai/package.json")).version.split(".")[0]);
const client = new OpenAI({ baseURL, apiKey: "none" });
const { threads } = client.beta;
const assistant_id = (await client.beta.assistants.list()).data[0].id;

async function thread_and_run() {
  const thread = await threads.create();
  await threads.messages.create(thread.id, { role: "user", content: "Good morning" });
  const done = await threads.runs.createAndPoll(thread.id, { assistant_id }, { pollIntervalMs: 50 });
  assert.equal(done.status, "completed");
  const messages = await threads.messages.list(thread.id, { run_id: done.id });
  assert.equal(messages.data[0].content[0].text.value, "You said: Good morning");
}

async function streamed(content, message = {}) {
  const thread = await threads.create({ messages: [{ role: "user", content, ...message }] });
  const heard = { text: "", code: "", images: [] };
  let stream = threads.runs.stream(thread.id, { assistant_id });
  for (;;) {
    stream.on("textDelta", (delta) => (heard.text += delta.value ?? ""));
    stream.on("toolCallDelta", (delta) => (heard.code += delta.code_interpreter?.input ?? ""));
    stream.on("imageFileDone", (image) => heard.images.push(image.file_id));
    const done = await stream.finalRun();
    heard.messages = await stream.finalMessages();
    if (done.status !== "requires_action") return heard;
    const calls = done.required_action.submit_tool_outputs.tool_calls;
    const tool_outputs = calls.map((call) => ({ tool_call_id: call.id, output: "sunny" }));
    stream = major < 5
      ? threads.runs.submitToolOutputsStream(thread.id, done.id, { tool_outputs })
      : threads.runs.submitToolOutputsStream(done.id, { thread_id: thread.id, tool_outputs });
  }
}

async function live_text() {
  assert.equal((await streamed("Good morning")).text, "You said: Good morning");
}

async function function_calls() {
  assert.equal((await streamed("use tools")).text, "The tool answered: sunny; sunny");
}

async function citations() {
  const file = await client.files.create({
    file: await toFile(Buffer.from("All is well on the ship."), "notes.txt"),
    purpose: "assistants",
  });
  const attachments = [{ file_id: file.id, tools: [{ type: "file_search" }] }];
  const { text } = (await streamed("cite: all is well", { attachments })).messages[0].content[0];
  const numbered = [];
  for (const [index, annotation] of text.annotations.entries()) {
    text.value = text.value.replace(annotation.text, `[${index}]`);
    const cited = await client.files.retrieve(annotation.file_citation.file_id);
    numbered.push(`[${index}] ${cited.filename}`);
  }
  assert.deepEqual(numbered, ["[0] notes.txt"]);
  assert.match(text.value, /^According to[^[]*\[0\][^[]*$/);
}

async function chart() {
  const heard = await streamed("draw a chart of apples 3 pears 5");
  assert.match(heard.code, /bar_chart/);
  const parts = heard.messages[0].content.filter((part) => part.type === "text");
  const paths = parts.flatMap((part) => part.text.annotations).filter(({ type }) => type === "file_path");
  const ids = [...heard.images, ...paths.map(({ file_path }) => file_path.file_id)];
  assert.ok(ids.length);
  const bytes = Buffer.from(await (await client.files.content(ids[0])).arrayBuffer());
  assert.equal(bytes.subarray(1, 4).toString(), "PNG");
}

await run("openai", thread_and_run, live_text, function_calls, citations, chart);
