// The Node SDK against the simulator: node sdks.mjs BASE_URL MODEL. See sdks.py.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "simulator", maxRetries: 2 });
const asked = (content, more = {}) => ({ model, messages: [{ role: "user", content }], ...more });
const say = (line) => console.log(line);

say(`node openai ${JSON.parse(readFileSync("node_modules/openai/package.json")).version}, node ${process.version}`);

const plain = await client.chat.completions.create(asked("Why does ice float?", { max_tokens: 20 }));
assert.ok(plain.choices[0].message.content);
assert.equal(plain.usage.total_tokens, plain.usage.prompt_tokens + plain.usage.completion_tokens);
say("plain");

let text = "";
let usage = null;
const options = { max_tokens: 20, stream: true, stream_options: { include_usage: true } };
for await (const chunk of await client.chat.completions.create(asked("Why does ice float?", options))) {
  text += chunk.choices[0]?.delta.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(text, plain.choices[0].message.content);
assert.deepEqual(usage, plain.usage);
say("stream, the same text and usage");

const final = await client.chat.completions.stream(asked("<two tools>")).finalChatCompletion();
assert.deepEqual(final.choices[0].message.tool_calls.map((call) => call.function.name), ["weather", "clock"]);
say("streamed tool calls, put together by the SDK");

const ids = [];
for await (const one of client.models.list()) ids.push(one.id);
assert.deepEqual(ids, [model]);
assert.equal((await client.models.retrieve(model)).owned_by, "simulator");
say("models.list, models.retrieve");

assert.equal((await client.chat.completions.create(asked("Cheap?", { service_tier: "flex" }))).service_tier, "flex");
say("service tier");

const stranger = new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 });
for (const [wrong, status] of [
  [() => client.chat.completions.create(asked("x", { temperature: 9 })), 400],
  [() => stranger.models.list(), 401],
  [() => client.models.retrieve("other"), 404],
]) {
  await assert.rejects(wrong, (error) => error.status === status && typeof error.code === "string");
}
say("errors: 400, 401, 404");

assert.ok((await client.chat.completions.create(asked("<limit>, in Node"))).choices.length);
say("two 429 with retry-after-ms, waited out");

await assert.rejects(async () => {
  for await (const _ of await client.chat.completions.create(asked("<breaks>", { stream: true })));
}, /upstream failed/);
say("an error in mid-stream is raised");

const line = (n) => ({
  custom_id: `row-${n}`,
  method: "POST",
  url: "/v1/chat/completions",
  body: asked(`Why ${n}, in Node?`),
});
const rows = [...Array(20).keys()].map((n) => JSON.stringify(line(n))).join("\n");
const file = await client.files.create({ file: new File([rows], "rows.jsonl"), purpose: "batch" });
const how = { input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" };
let batch = await client.batches.create({ ...how, metadata: { run: "node" } });
assert.equal((await client.batches.cancel((await client.batches.create(how)).id)).status, "cancelling");
for (let n = 0; n < 100 && batch.status !== "completed"; n++) {
  await new Promise((done) => setTimeout(done, 100));
  batch = await client.batches.retrieve(batch.id);
}
assert.deepEqual([batch.request_counts.completed, batch.metadata.run], [20, "node"]);
const answers = (await (await client.files.content(batch.output_file_id)).text()).trim().split("\n").map((one) => JSON.parse(one));
assert.equal(new Set(answers.map((one) => one.custom_id)).size, 20);
const listed = [];
for await (const one of client.batches.list({ limit: 1 })) listed.push(one.id);
assert.ok(listed.includes(batch.id));
say("files, batches: created, cancelled, polled, listed, downloaded");

// Not a promise of ours: this SDK reads on after [DONE] (openai-node 2317), so a connection that is held
// open keeps it, and one that ends without its last chunk is an error to it. The text came all the same.
let last = null;
let ended = "in order";
const since = Date.now();
try {
  for await (const chunk of await client.chat.completions.create(asked("<held>", { stream: true }))) last = chunk;
} catch (error) {
  ended = `with "${error.message}"`;
}
assert.equal(last.choices[0].finish_reason, "stop");
const seconds = ((Date.now() - since) / 1000).toFixed(0);
say(`a stream that is held open for 3 s after [DONE]: all of it came; ended ${ended} after ${seconds} s`);
process.exit(0);
