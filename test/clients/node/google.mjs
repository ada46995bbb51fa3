// Drives a running Triarch with the official Google GenAI client for Node, unchanged, as check.mjs does with OpenAI's.
import { ApiError, GoogleGenAI } from "@google/genai";

const base = process.env.TRIARCH_URL.replace(/\/$/, "");
const model = process.env.TRIARCH_MODEL;
const client = (name = "TRIARCH_KEY") => new GoogleGenAI({ apiKey: process.env[name], httpOptions: { baseUrl: base } });
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

async function fails(name, call, status, word) {
  try {
    ok(name, false, await call());
  } catch (e) {
    ok(name, e instanceof ApiError && e.status === status && e.message.includes(word), { status: e.status, message: e.message });
  }
}

const contents = "What is a ledger?";
const say = (config = {}, who = api, more = {}) => who.models.generateContent({ model, contents, config: { maxOutputTokens: 24, ...config }, ...more });

const names = [];
for await (const m of await api.models.list()) names.push(m.name);
ok("list", names.includes("models/" + model), names);
ok("model", (await api.models.get({ model })).name === "models/" + model, null);

const r = await say({ temperature: 0 });
ok("generate", r.text.length > 0 && r.usageMetadata.candidatesTokenCount > 0 && r.usageMetadata.promptTokenCount > 0, r);
let text = "", last = null;
for await (const c of await api.models.generateContentStream({ model, contents, config: { maxOutputTokens: 24, temperature: 0 } })) {
  text += c.text ?? "";
  last = c;
}
ok("stream", text === r.text && last.candidates[0].finishReason === r.candidates[0].finishReason, [text, r]);
ok("stream usage", last.usageMetadata.candidatesTokenCount === r.usageMetadata.candidatesTokenCount, last);
ok("system", (await say({ systemInstruction: "Be brief." })).text.length > 0, null);
ok("count", (await api.models.countTokens({ model, contents })).totalTokens === r.usageMetadata.promptTokenCount, r.usageMetadata);
const schema = { type: "object", properties: { n: { type: "integer", minimum: 0, maximum: 9 } }, required: ["n"], additionalProperties: false };
const formed = await say({ maxOutputTokens: 100, responseMimeType: "application/json", responseJsonSchema: schema });
ok("schema", Number.isInteger(JSON.parse(formed.text).n), formed);
const short = { type: "object", properties: { n: { type: "integer" } }, required: ["n"] };
const called = await say({ maxOutputTokens: 100, tools: [{ functionDeclarations: [{ name: "f", parametersJsonSchema: short }] }], toolConfig: { functionCallingConfig: { mode: "ANY" } } }, api, { contents: "A" });
ok("tool", called.functionCalls?.[0].name === "f" && Number.isInteger(called.functionCalls[0].args.n), called);
const vectors = await api.models.embedContent({ model, contents: ["one", "two"] });
ok("embed", vectors.embeddings.length === 2 && Math.abs(vectors.embeddings[0].values.reduce((s, x) => s + x * x, 0) - 1) < 1e-3, vectors.embeddings.length);

await fails("unknown model", () => say({}, api, { model: "no-such-model" }), 404, "NOT_FOUND");
await fails("wrong type", () => say({ temperature: "hot" }), 400, "INVALID_ARGUMENT");
await fails("context too long", () => say({}, api, { contents: "word ".repeat(20000) }), 400, "INVALID_ARGUMENT");
await fails("body too large", () => say({}, api, { contents: "x".repeat(40 << 20) }), 413, "INVALID_ARGUMENT");
await fails("revoked key", () => say({}, client("TRIARCH_KEY_REVOKED")), 401, "UNAUTHENTICATED");
await fails("no money", () => say({}, client("TRIARCH_KEY_POOR")), 429, "RESOURCE_EXHAUSTED");
const slow = client("TRIARCH_KEY_SLOW");
await say({}, slow);
await fails("too many requests", () => say({}, slow), 429, "RESOURCE_EXHAUSTED");

console.log(`${done} passed, 0 failed`);
