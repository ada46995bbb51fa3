// As ../python/matrix_openai.py, with the official Anthropic client for Node.
import { readFileSync } from "node:fs";
import Anthropic from "@anthropic-ai/sdk";

const plan = JSON.parse(readFileSync(process.env.TRIARCH_CASES));
const media = plan.media;
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const city = { type: "object", properties: { city: { type: "string" }, days: { type: "integer" } } };
const results = { weather: "18 degrees", clock: "12:00" };
const image = { type: "image", source: { type: "base64", media_type: "image/png", data: media.png } };

const client = (c) => new Anthropic({ baseURL: process.env.TRIARCH_URL.replace(/\/$/, ""), apiKey: c.key || process.env.TRIARCH_KEY, maxRetries: 0, timeout: 60_000, defaultHeaders: c.headers ?? {} });

function argsOf(s) {
  const text = { type: "text", text: "What is it?" };
  const user = { role: "user", content: "What is it?" };
  const a = { system: "Be brief.", messages: [user], max_tokens: 4096 };
  if (s === "reasoning" || s === "tools") a.thinking = { type: "enabled", budget_tokens: 2048 };
  if (s === "tools") a.tools = Object.keys(results).map((name) => ({ name, description: name, input_schema: city }));
  if (s === "media") user.content = [text, image, { type: "document", source: { type: "base64", media_type: "application/pdf", data: media.pdf } }];
  if (s === "url") user.content = [text, { type: "image", source: { type: "url", url: media.url } }];
  if (s === "schema") a.output_config = { format: { type: "json_schema", schema } };
  if (s === "sequence") a.stop_sequences = ["END"];
  if (s === "cache") a.system = [{ type: "text", text: "Be brief.", cache_control: { type: "ephemeral" } }];
  return a;
}

const ask = async (api, c, a) => c.stream ? api.messages.stream({ model: c.model, ...a }).finalMessage() : api.messages.create({ model: c.model, ...a });

async function run(c) {
  const api = client(c), a = argsOf(c.scenario), r = await ask(api, c, a), u = r.usage;
  const of = (type) => r.content.filter((b) => b.type === type);
  const seen = { text: of("text").map((b) => b.text).join(""), thought: of("thinking").map((b) => b.thinking).join(""),
    signed: of("thinking").some((b) => b.signature) || of("redacted_thinking").length > 0, stop: r.stop_reason, sequence: r.stop_sequence ?? "", calls: of("tool_use").map((b) => [b.name, b.input]),
    in: u.input_tokens + (u.cache_read_input_tokens ?? 0) + (u.cache_creation_input_tokens ?? 0), cached: u.cache_read_input_tokens ?? 0, written: u.cache_creation_input_tokens ?? 0,
    out: u.output_tokens, reasoned: u.output_tokens_details?.thinking_tokens ?? 0 };
  if (c.scenario === "tools") {
    const rich = [{ type: "text", text: results.weather }, image];
    const back = of("tool_use").map((b) => ({ type: "tool_result", tool_use_id: b.id, content: b.name === "weather" ? rich : results[b.name] }));
    const then = await ask(api, c, { ...a, messages: [...a.messages, { role: "assistant", content: r.content }, { role: "user", content: back }] });
    seen.then = then.content.filter((b) => b.type === "text").map((b) => b.text).join("");
  }
  return seen;
}

for (const c of plan.cases) {
  let line;
  try {
    line = { seen: await run(c) };
  } catch (e) {
    line = { error: { class: e.constructor.name, status: e.status, message: e.message, kind: e.error?.error?.type ?? "", id: Boolean(e.requestID) } };
  }
  console.log(JSON.stringify({ case: c.id, ...line }));
}
