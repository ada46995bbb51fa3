// Drives a running Triarch with the official OpenAI client for Node, unchanged. The environment is that of
// ../python/check.py. Prints one "ok NAME" line a check and fails at the first that does not hold.
import OpenAI from "openai";

const base = process.env.TRIARCH_URL.replace(/\/$/, "") + "/v1";
const model = process.env.TRIARCH_MODEL;
const ask = [{ role: "user", content: "What is a ledger?" }];
const client = (name = "TRIARCH_KEY") => new OpenAI({ baseURL: base, apiKey: process.env[name], maxRetries: 0, timeout: 60_000 });
const api = client();
let done = 0;

function ok(name, holds, seen) {
  if (!holds) {
    console.log(`not ok ${name}: ${JSON.stringify(seen)}`);
    process.exit(1);
  }
  done++;
  console.log("ok", name);
}

async function fails(name, call, status, { type = "invalid_request_error", code, param, header } = {}) {
  try {
    const got = await call();
    ok(name, false, got);
  } catch (e) {
    ok(name, e instanceof OpenAI.APIError && e.status === status, { status: e.status, message: e.message });
    ok(name + " type", e.type === type, e.error);
    if (code) ok(name + " code", e.code === code, e.error);
    if (param) ok(name + " param", e.param === param, e.error);
    if (header) ok(name + " header", e.headers.get(header[0]) === header[1], [...e.headers]);
    ok(name + " request id", Boolean(e.requestID), null);
  }
}

const chat = (more = {}, who = api) => who.chat.completions.create({ model, messages: ask, max_tokens: 24, ...more });

const ids = [];
for await (const m of await api.models.list()) ids.push(m.id);
ok("list", ids.includes(model), ids);

const r = await chat({ temperature: 0 });
ok("chat", r.choices[0].message.content.length > 0 && r.usage.total_tokens > 0, r);
ok("request id", Boolean(r._request_id), r);

let text = "", usage = null;
for await (const c of await chat({ stream: true, temperature: 0, stream_options: { include_usage: true } })) {
  text += c.choices[0]?.delta?.content ?? "";
  usage = c.usage ?? usage;
}
ok("stream", text === r.choices[0].message.content, [text, r]);
ok("stream usage", usage?.completion_tokens === r.usage.completion_tokens, usage);

const helper = api.chat.completions.stream({ model, messages: ask, max_tokens: 24, temperature: 0 });
ok("stream helper", (await helper.finalContent()) === text, null);

ok("n", (await chat({ n: 3, temperature: 1 })).choices.length === 3, null);
const lp = (await chat({ logprobs: true, top_logprobs: 2, temperature: 0 })).choices[0].logprobs.content;
ok("logprobs", lp.length > 0 && lp.every((t) => t.top_logprobs.length === 2 && t.logprob <= 0), lp);
const stop = text.slice(Math.floor(text.length / 2)).slice(0, 3);
const cut = (await chat({ temperature: 0, stop })).choices[0];
ok("stop", cut.message.content === text.slice(0, text.indexOf(stop)) && cut.finish_reason === "stop", [text, stop, cut]);
ok("completions", (await api.completions.create({ model, prompt: "A ledger is", max_tokens: 4 })).choices.length === 1, null);

const vectors = await api.embeddings.create({ model, input: ["one", "two"] });
ok("embeddings", vectors.data.length === 2 && Math.abs(vectors.data[0].embedding.reduce((s, x) => s + x * x, 0) - 1) < 1e-3, vectors.usage);
const first = await api.responses.create({ model, input: "What is a ledger?", max_output_tokens: 24 });
ok("responses", first.output_text.length > 0 && first.usage.output_tokens > 0, first);
let events = 0, final = null;
for await (const e of await api.responses.create({ model, input: "And who reads it?", previous_response_id: first.id, max_output_tokens: 24, stream: true })) {
  ok("sequence", e.sequence_number === events++, e);
  if (e.type === "response.completed" || e.type === "response.incomplete") final = e.response;
}
ok("responses go on", final?.previous_response_id === first.id && final.usage.input_tokens > first.usage.input_tokens, final);
ok("response is kept", (await api.responses.retrieve(first.id)).id === first.id, null);
await api.responses.delete(first.id);
await fails("response is gone", () => api.responses.retrieve(first.id), 404, { code: "response_not_found" });
const file = await api.files.create({ file: new File(["hello"], "a.jsonl"), purpose: "batch" });
ok("file", file.bytes === 5 && (await (await api.files.content(file.id)).text()) === "hello", file);
ok("file is gone", (await api.files.delete(file.id)).deleted, null);
await fails("moderations", () => api.moderations.create({ input: "x" }), 501, { code: "not_implemented" });

// hang up in mid-stream: the client must come back at once and the next call must work
const half = await chat({ stream: true, max_tokens: 200, temperature: 1 });
for await (const _ of half) break;
ok("hang up", (await chat()).choices.length === 1, null);

await fails("unknown model", () => chat({ model: "no-such-model" }), 404, { code: "model_not_found", param: "model" });
await fails("wrong type", () => chat({ temperature: "hot" }), 400, { param: "temperature" });
await fails("negative temperature", () => chat({ temperature: -1 }), 400, { param: "temperature" });
await fails("huge temperature", () => chat({ temperature: 1e9 }), 400, { param: "temperature" });
await fails("huge top_p", () => chat({ top_p: 7 }), 400, { param: "top_p" });
await fails("huge penalty", () => chat({ frequency_penalty: -99 }), 400, { param: "frequency_penalty" });
await fails("n too large", () => chat({ n: 1000 }), 400, { param: "n" });
await fails("stop list too long", () => chat({ stop: ["a", "b", "c", "d", "e"] }), 400, { param: "stop" });
await fails("tools", () => chat({ tools: [{ type: "function" }] }), 400, { param: "tools[0]" });
await fails("context too long", () => chat({ messages: [{ role: "user", content: "word ".repeat(20000) }] }), 400, { code: "context_length_exceeded" });
await fails("body too large", () => chat({ messages: [{ role: "user", content: "x".repeat(40 << 20) }] }), 413);
const post = (body) => api.post("/chat/completions", { body, headers: { "content-type": "application/json" } });
await fails("malformed JSON", () => post('{"model": "x", '), 400);
const [head, tail] = [`{"model":"${model}","messages":[{"role":"user","content":"`, '"}]}'].map((s) => Buffer.from(s));
await fails("invalid UTF-8", () => post(new Uint8Array(Buffer.concat([head, Buffer.from([0xff, 0xfe]), tail]))), 400);
await fails("revoked key", () => chat({}, client("TRIARCH_KEY_REVOKED")), 401, { code: "invalid_api_key" });
await fails("no money", () => chat({}, client("TRIARCH_KEY_POOR")), 429, { type: "insufficient_quota", code: "insufficient_quota", header: ["x-should-retry", "false"] });
const slow = client("TRIARCH_KEY_SLOW");
await chat({}, slow);
await fails("too many requests", () => chat({}, slow), 429, { type: "requests", code: "rate_limit_exceeded" });

console.log(`${done} passed, 0 failed`);
