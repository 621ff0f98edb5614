// A streamed run whose functions this program carries out, with the SDK's own stream; only `baseURL` is new.
// Start the service with ASSISTANT_FILE=examples/assistants/signage-analyst.json, then:
//
//   npm install
//   node stream-with-tools.js "Which airport screens are offline?"

import OpenAI from "openai";

const client = new OpenAI({
  baseURL: process.env.SOLOIST_URL ?? "http://127.0.0.1:8010/api/v1",
  apiKey: process.env.SOLOIST_KEY ?? "none",
});
const assistantId = process.env.ASSISTANT_ID ?? "asst_soloist";
const question = process.argv.slice(2).join(" ") || "Use a tool: which airport screens are offline?";

// A real program would ask its database here.
function carryOut(name, args) {
  if (name === "list_screens") return JSON.stringify([{ id: "scr_12", site: "Airport, gate B4", state: "offline" }]);
  return JSON.stringify({ error: `${name} is not available in this example`, arguments: args });
}

const thread = await client.beta.threads.create({ messages: [{ role: "user", content: question }] });
let stream = client.beta.threads.runs.stream(thread.id, { assistant_id: assistantId });
for (;;) {
  stream.on("textDelta", (delta) => process.stdout.write(delta.value ?? ""));
  const run = await stream.finalRun();
  if (run.status !== "requires_action") break;
  const calls = run.required_action.submit_tool_outputs.tool_calls;
  for (const call of calls) console.log(`[${call.function.name} ${call.function.arguments}]`);
  const outputs = calls.map(({ id, function: { name, arguments: args } }) => ({ tool_call_id: id, output: carryOut(name, args) }));
  stream = client.beta.threads.runs.submitToolOutputsStream(run.id, { thread_id: thread.id, tool_outputs: outputs });
}
console.log();
