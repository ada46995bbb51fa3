// As ../python/matrix_openai.py, with the official OpenAI client for Node.
import { readFileSync } from "node:fs";
import OpenAI, { toFile } from "openai";

const plan = JSON.parse(readFileSync(process.env.TRIARCH_CASES));
const media = plan.media;
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const city = { type: "object", properties: { city: { type: "string" }, days: { type: "integer" } } };
const results = { weather: "18 degrees", clock: "12:00" };
const png = "data:image/png;base64," + media.png, pdf = "data:application/pdf;base64," + media.pdf;

const client = (c) => new OpenAI({ baseURL: process.env.TRIARCH_URL.replace(/\/$/, "") + "/v1", apiKey: c.key || process.env.TRIARCH_KEY, maxRetries: 0, timeout: 60_000, defaultHeaders: c.headers ?? {} });
const upload = async (api) => (await api.files.create({ file: await toFile(Buffer.from(media.pdf, "base64"), "page.pdf"), purpose: "user_data" })).id;

async function chatArgs(api, s) {
  const text = { type: "text", text: "What is it?" };
  const user = { role: "user", content: "What is it?" };
  const a = { messages: [{ role: "system", content: "Be brief." }, user], max_completion_tokens: 4096 };
  if (s === "reasoning" || s === "tools") a.reasoning_effort = "high";
  if (s === "tools") a.tools = Object.keys(results).map((name) => ({ type: "function", function: { name, description: name, parameters: city } }));
  if (s === "media") user.content = [text, { type: "image_url", image_url: { url: png } }, { type: "file", file: { filename: "page.pdf", file_data: pdf } }];
  if (s === "url") user.content = [text, { type: "image_url", image_url: { url: media.url } }];
  if (s === "file") user.content = [text, { type: "file", file: { file_id: await upload(api) } }];
  if (s === "schema") a.response_format = { type: "json_schema", json_schema: { name: "answer", strict: true, schema } };
  if (s === "logprobs") Object.assign(a, { logprobs: true, top_logprobs: 2 });
  if (s === "sequence") a.stop = ["END"];
  return a;
}

async function chat(api, c, a) {
  if (!c.stream) return { r: await api.chat.completions.create({ model: c.model, ...a }), thought: null };
  const events = api.chat.completions.stream({ model: c.model, stream_options: { include_usage: true }, ...a });
  let thought = "";
  for await (const chunk of events) for (const x of chunk.choices) thought += x.delta.reasoning_content ?? "";
  const r = await events.finalChatCompletion();
  return { r: { ...r, usage: await events.totalUsage(), choices: r.choices }, thought };
}

async function chatCase(c) {
  const api = client(c), a = await chatArgs(api, c.scenario);
  const { r, thought } = await chat(api, c, a);
  const { message: m, finish_reason: stop, logprobs } = r.choices[0], u = r.usage;
  const seen = { text: m.content ?? "", refusal: m.refusal ?? "", thought: thought ?? m.reasoning_content ?? "", stop,
    calls: (m.tool_calls ?? []).map((t) => [t.function.name, JSON.parse(t.function.arguments)]), in: u.prompt_tokens, cached: u.prompt_tokens_details?.cached_tokens ?? 0,
    out: u.completion_tokens, reasoned: u.completion_tokens_details?.reasoning_tokens ?? 0 };
  if (c.stream) delete seen.cached, delete seen.reasoned; // this client's sum of usage has no details
  if (c.scenario === "logprobs") seen.probs = logprobs.content.map((p) => [p.token, p.logprob, p.top_logprobs.length]);
  if (c.scenario === "tools") {
    const said = { role: "assistant", content: m.content, tool_calls: m.tool_calls.map((t) => ({ id: t.id, type: "function", function: { name: t.function.name, arguments: t.function.arguments } })) };
    const back = m.tool_calls.map((t) => ({ role: "tool", tool_call_id: t.id, content: results[t.function.name] }));
    seen.then = (await chat(api, c, { ...a, messages: [...a.messages, said, ...back] })).r.choices[0].message.content;
  }
  return seen;
}

async function responsesArgs(api, s) {
  const text = { type: "input_text", text: "What is it?" };
  const user = { role: "user", content: "What is it?" };
  const a = { instructions: "Be brief.", input: [user], max_output_tokens: 4096 };
  if (s === "reasoning" || s === "tools") Object.assign(a, { reasoning: { effort: "high", summary: "auto" }, include: ["reasoning.encrypted_content"] });
  if (s === "tools") a.tools = Object.keys(results).map((name) => ({ type: "function", name, description: name, parameters: city, strict: false }));
  if (s === "media") user.content = [text, { type: "input_image", image_url: png, detail: "auto" }, { type: "input_file", filename: "page.pdf", file_data: pdf }];
  if (s === "url") user.content = [text, { type: "input_image", image_url: media.url, detail: "auto" }];
  if (s === "file") user.content = [text, { type: "input_file", file_id: await upload(api) }];
  if (s === "schema") a.text = { format: { type: "json_schema", name: "answer", strict: true, schema } };
  if (s === "logprobs") Object.assign(a, { top_logprobs: 2, include: ["message.output_text.logprobs"] });
  return a;
}

const responses = async (api, c, a) => c.stream ? api.responses.stream({ model: c.model, ...a }).finalResponse() : api.responses.create({ model: c.model, ...a });

async function responsesCase(c) {
  const api = client(c), a = await responsesArgs(api, c.scenario), r = await responses(api, c, a);
  const of = (type) => r.output.filter((o) => o.type === type);
  const parts = of("message").flatMap((o) => o.content), u = r.usage;
  const seen = { text: parts.filter((p) => p.type === "output_text").map((p) => p.text).join(""), refusal: parts.filter((p) => p.type === "refusal").map((p) => p.refusal).join(""),
    thought: of("reasoning").flatMap((o) => o.summary).map((t) => t.text).join(""), signed: of("reasoning").some((o) => o.encrypted_content),
    stop: r.status === "incomplete" ? r.incomplete_details.reason : r.status, calls: of("function_call").map((f) => [f.name, JSON.parse(f.arguments)]),
    in: u.input_tokens, cached: u.input_tokens_details.cached_tokens, out: u.output_tokens, reasoned: u.output_tokens_details.reasoning_tokens };
  if (c.scenario === "logprobs") seen.probs = parts.flatMap((p) => p.logprobs).map((p) => [p.token, p.logprob, p.top_logprobs.length]);
  if (c.scenario === "tools") { // gone on from by the response's id
    const rich = [{ type: "input_text", text: results.weather }, { type: "input_image", image_url: png, detail: "auto" }];
    const input = of("function_call").map((f) => ({ type: "function_call_output", call_id: f.call_id, output: f.name === "weather" ? rich : results[f.name] }));
    const then = await responses(api, c, { ...a, input, previous_response_id: r.id });
    seen.then = then.output.filter((o) => o.type === "message").flatMap((o) => o.content).map((p) => p.text).join("");
  }
  return seen;
}

async function embedCase(c) {
  const r = await client(c).embeddings.create({ model: c.model, input: ["one", "two"] });
  return { text: JSON.stringify(r.data.map((d) => d.embedding.map((x) => Math.round(x * 1000) / 1000))), in: r.usage.prompt_tokens };
}

const run = { chat: chatCase, responses: responsesCase, embeddings: embedCase };
for (const c of plan.cases) {
  let line;
  try {
    line = { seen: await run[c.api](c) };
  } catch (e) {
    line = { error: { class: e.constructor.name, status: e.status, message: e.message, kind: e.type ?? "", id: Boolean(e.requestID) } };
  }
  console.log(JSON.stringify({ case: c.id, ...line }));
}
