// Assistants code from before the switch-off: only `baseURL` is new.
//
//   npm install
//   node ask.js "How do I stream?"

import OpenAI from "openai";

const client = new OpenAI({
  baseURL: process.env.SOLOIST_URL ?? "http://127.0.0.1:8010/api/v1",
  apiKey: process.env.SOLOIST_KEY ?? "none",
});
const assistantId = process.env.ASSISTANT_ID ?? "asst_soloist";
const question = process.argv.slice(2).join(" ") || "How do I stream?";

const thread = await client.beta.threads.create();
await client.beta.threads.messages.create(thread.id, { role: "user", content: question });
const run = await client.beta.threads.runs.createAndPoll(thread.id, { assistant_id: assistantId });
if (run.status !== "completed") {
  console.error(`The run is ${run.status}:`, run.last_error);
  process.exit(1);
}

for await (const message of client.beta.threads.messages.list(thread.id, { order: "asc" })) {
  for (const part of message.content) {
    if (part.type === "text") console.log(`${message.role}: ${part.text.value}`);
  }
}

await client.beta.threads.delete(thread.id);
