// As ../python/matrix_openai.py, with the official Google GenAI client for Node.
import { readFileSync } from "node:fs";
import { GoogleGenAI } from "@google/genai";

const plan = JSON.parse(readFileSync(process.env.TRIARCH_CASES));
const media = plan.media;
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const city = { type: "object", properties: { city: { type: "string" }, days: { type: "integer" } } };
const results = { weather: "18 degrees", clock: "12:00" };

const client = (c) => new GoogleGenAI({ apiKey: c.key || process.env.TRIARCH_KEY, httpOptions: { baseUrl: process.env.TRIARCH_URL.replace(/\/$/, ""), headers: c.headers ?? {} } });

function argsOf(s) {
  const user = { role: "user", parts: [{ text: "What is it?" }] };
  const config = { systemInstruction: "Be brief.", maxOutputTokens: 4096 };
  if (s === "reasoning" || s === "tools") config.thinkingConfig = { includeThoughts: true, thinkingBudget: 2048 };
  if (s === "tools") config.tools = [{ functionDeclarations: Object.keys(results).map((name) => ({ name, description: name, parametersJsonSchema: city })) }];
  if (s === "media") user.parts.push({ inlineData: { mimeType: "image/png", data: media.png } }, { inlineData: { mimeType: "application/pdf", data: media.pdf } });
  if (s === "url") user.parts.push({ fileData: { mimeType: "image/png", fileUri: media.url } });
  if (s === "schema") Object.assign(config, { responseMimeType: "application/json", responseJsonSchema: schema });
  if (s === "logprobs") Object.assign(config, { responseLogprobs: true, logprobs: 2 });
  if (s === "sequence") config.stopSequences = ["END"];
  return { contents: [user], config };
}

// ask gives the parts of an answer with what stands at its end.
async function ask(api, c, a) {
  if (!c.stream) {
    const r = await api.models.generateContent({ model: c.model, ...a });
    const x = r.candidates[0];
    return { parts: x.content?.parts ?? [], stop: x.finishReason, usage: r.usageMetadata, probs: x.logprobsResult };
  }
  const out = { parts: [] };
  for await (const r of await api.models.generateContentStream({ model: c.model, ...a })) {
    const x = r.candidates?.[0];
    out.parts.push(...(x?.content?.parts ?? []));
    out.stop = x?.finishReason ?? out.stop;
    out.usage = r.usageMetadata ?? out.usage;
    out.probs = x?.logprobsResult ?? out.probs;
  }
  return out;
}

const textOf = (parts) => parts.filter((p) => p.text && !p.thought).map((p) => p.text).join("");

async function run(c) {
  const api = client(c);
  if (c.api === "embeddings") {
    const r = await api.models.embedContent({ model: c.model, contents: ["one", "two"] });
    return { text: JSON.stringify(r.embeddings.map((e) => e.values.map((x) => Math.round(x * 1000) / 1000))) };
  }
  const a = argsOf(c.scenario), { parts, stop, usage: u, probs } = await ask(api, c, a);
  const calls = parts.filter((p) => p.functionCall);
  const seen = { text: textOf(parts), thought: parts.filter((p) => p.thought).map((p) => p.text).join(""), signed: parts.some((p) => p.thoughtSignature), stop,
    calls: calls.map((p) => [p.functionCall.name, p.functionCall.args]), in: u.promptTokenCount, cached: u.cachedContentTokenCount ?? 0,
    out: (u.candidatesTokenCount ?? 0) + (u.thoughtsTokenCount ?? 0), reasoned: u.thoughtsTokenCount ?? 0 };
  if (c.scenario === "logprobs") seen.probs = probs.chosenCandidates.map((p, i) => [p.token, p.logProbability, probs.topCandidates[i].candidates.length]);
  if (c.scenario === "tools") {
    const back = calls.map(({ functionCall: f }) => ({ functionResponse: { id: f.id, name: f.name, response: { output: results[f.name] },
      ...(f.name === "weather" ? { parts: [{ inlineData: { mimeType: "image/png", data: media.png } }] } : {}) } }));
    const then = await ask(api, c, { ...a, contents: [...a.contents, { role: "model", parts }, { role: "user", parts: back }] });
    seen.then = textOf(then.parts);
  }
  return seen;
}

for (const c of plan.cases) {
  let line;
  try {
    line = { seen: await run(c) };
  } catch (e) {
    line = { error: { class: e.constructor.name, status: e.status, message: e.message, kind: /"status":\s*"([A-Z_]+)"/.exec(e.message)?.[1] ?? "" } };
  }
  console.log(JSON.stringify({ case: c.id, ...line }));
}
