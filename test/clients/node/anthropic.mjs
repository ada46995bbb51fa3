// Drives a running Triarch with the official Anthropic client for Node, unchanged, as check.mjs does with OpenAI's.
import Anthropic from "@anthropic-ai/sdk";

const base = process.env.TRIARCH_URL.replace(/\/$/, "");
const model = process.env.TRIARCH_MODEL;
const ask = [{ role: "user", content: "What is a ledger?" }];
const client = (name = "TRIARCH_KEY") => new Anthropic({ baseURL: base, apiKey: process.env[name], maxRetries: 0, timeout: 60_000 });
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

async function fails(name, call, status, type) {
  try {
    ok(name, false, await call());
  } catch (e) {
    ok(name, e instanceof Anthropic.APIError && e.status === status, { status: e.status, message: e.message });
    ok(name + " type", e.error?.error?.type === type, e.error);
    ok(name + " request id", Boolean(e.requestID), null);
  }
}

const say = (more = {}, who = api) => who.messages.create({ model, messages: ask, max_tokens: 24, ...more });

const ids = [];
for await (const m of await api.models.list()) ids.push(m.id);
ok("list", ids.includes(model), ids);
ok("model", (await api.models.retrieve(model)).type === "model", null);

const r = await say({ temperature: 0 });
ok("messages", r.type === "message" && r.content[0].text.length > 0 && r.usage.output_tokens > 0 && r.usage.input_tokens > 0, r);
ok("request id", Boolean(r._request_id), r);
const s = await api.messages.stream({ model, messages: ask, max_tokens: 24, temperature: 0 }).finalMessage();
ok("stream", s.content[0].text === r.content[0].text && s.stop_reason === r.stop_reason, [s, r]);
ok("stream usage", s.usage.output_tokens === r.usage.output_tokens, s.usage);
ok("system", (await say({ system: [{ type: "text", text: "Be brief.", cache_control: { type: "ephemeral" } }] })).content.length > 0, null);
ok("count", (await api.messages.countTokens({ model, messages: ask })).input_tokens === r.usage.input_tokens, r.usage);
const tool = { name: "f", input_schema: { type: "object", properties: { n: { type: "integer" } }, required: ["n"] } };
const called = await say({ tools: [tool], tool_choice: { type: "tool", name: "f" }, max_tokens: 100, messages: [{ role: "user", content: "A" }] });
const use = called.content.find((b) => b.type === "tool_use");
ok("tool", use?.name === "f" && Number.isInteger(use.input.n) && called.stop_reason === "tool_use", called);

const half = await say({ stream: true, max_tokens: 200, temperature: 1 });
for await (const _ of half) break;
ok("hang up", (await say()).content.length === 1, null);

await fails("unknown model", () => say({ model: "no-such-model" }), 404, "not_found_error");
await fails("wrong type", () => say({ temperature: "hot" }), 400, "invalid_request_error");
await fails("no messages", () => say({ messages: [] }), 400, "invalid_request_error");
await fails("context too long", () => say({ messages: [{ role: "user", content: "word ".repeat(20000) }] }), 400, "invalid_request_error");
await fails("body too large", () => say({ messages: [{ role: "user", content: "x".repeat(40 << 20) }] }), 413, "request_too_large");
await fails("revoked key", () => say({}, client("TRIARCH_KEY_REVOKED")), 401, "authentication_error");
await fails("no money", () => say({}, client("TRIARCH_KEY_POOR")), 402, "billing_error");
const slow = client("TRIARCH_KEY_SLOW");
await say({}, slow);
await fails("too many requests", () => say({}, slow), 429, "rate_limit_error");

console.log(`${done} passed, 0 failed`);
