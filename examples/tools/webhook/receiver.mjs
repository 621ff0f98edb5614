// Carries out the calls of one tool. Only calls that the service has signed are answered.
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.TOOLS_WEBHOOK_SECRET);
const stock = { "lamp-7": 12, "chair-2": 0 };
const answered = new Map(); // a call that comes twice gets its first answer; yours belong into a database

async function read(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

const server = createServer(async (request, response) => {
  const end = (status, value) =>
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
  let call;
  try {
    call = webhook.verify(await read(request), request.headers);
  } catch {
    return end(401, { error: "The signature is wrong." });
  }
  const id = request.headers["webhook-id"];
  if (!answered.has(id)) {
    const { sku } = call.arguments;
    answered.set(id, Object.hasOwn(stock, sku) ? [200, { sku, pieces: stock[sku] }] : [404, { error: `There is no ${sku}.` }]);
  }
  end(...answered.get(id));
});

server.listen(Number(process.env.PORT ?? 8020), "127.0.0.1", () => console.log(`port ${server.address().port}`));
