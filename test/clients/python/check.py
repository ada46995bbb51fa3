"""Drives a running Triarch with the official OpenAI client for Python, unchanged.

Environment: TRIARCH_URL, TRIARCH_KEY, TRIARCH_MODEL; TRIARCH_KEY_REVOKED, TRIARCH_KEY_POOR (no money left) and
TRIARCH_KEY_SLOW (one request a minute). Prints one "ok NAME" line a check and fails at the first that does not hold.
"""
import json
import os
import openai
from openai import OpenAI

BASE = os.environ["TRIARCH_URL"].rstrip("/") + "/v1"
MODEL = os.environ["TRIARCH_MODEL"]
ASK = [{"role": "user", "content": "What is a ledger?"}]


def client(name="TRIARCH_KEY"):
    return OpenAI(base_url=BASE, api_key=os.environ[name], max_retries=0, timeout=60)


api = client()
done = 0


def ok(name, holds, seen=None):
    global done
    if not holds:
        raise SystemExit(f"not ok {name}: {seen!r}")
    done += 1
    print("ok", name)


def fails(name, kind, call, status, code=None, param=None, header=None, type="invalid_request_error"):
    try:
        got = call()
        if hasattr(got, "__iter__") and not hasattr(got, "choices"):
            got = list(got)
    except kind as e:
        ok(name, e.status_code == status, e)
        ok(name + " type", e.type == type, e.body)
        if code is not None:
            ok(name + " code", e.code == code, e.body)
        if param is not None:
            ok(name + " param", e.param == param, e.body)
        if header is not None:
            ok(name + " header", e.response.headers.get(header[0]) == header[1], dict(e.response.headers))
        ok(name + " request id", e.request_id, dict(e.response.headers))
        return
    ok(name, False, got)


def chat(who=api, **kw):
    args = {"model": MODEL, "messages": ASK, "max_tokens": 24} | kw
    return who.chat.completions.create(**args)


# list
ids = [m.id for m in api.models.list()]
ok("list", MODEL in ids, ids)
ok("retrieve", api.models.retrieve(MODEL).id == MODEL)

# chat
r = chat()
ok("chat", r.choices[0].message.role == "assistant" and r.choices[0].message.content, r)
ok("chat usage", r.usage.total_tokens == r.usage.prompt_tokens + r.usage.completion_tokens > 0, r.usage)
ok("chat greedy repeats", chat(temperature=0).choices[0].message.content == chat(temperature=0).choices[0].message.content)
raw = api.chat.completions.with_raw_response.create(model=MODEL, messages=ASK, max_tokens=4)
ok("headers", raw.headers.get("x-request-id") and raw.headers.get("content-type", "").startswith("application/json"), dict(raw.headers))

# stream with usage
text, usage, finish = "", None, None
for chunk in chat(stream=True, temperature=0, stream_options={"include_usage": True}):
    if chunk.choices:
        text += chunk.choices[0].delta.content or ""
        finish = chunk.choices[0].finish_reason or finish
    usage = chunk.usage or usage
ok("stream text", text == chat(temperature=0).choices[0].message.content, text)
ok("stream finish", finish in ("stop", "length"), finish)
ok("stream usage", usage is not None and usage.completion_tokens > 0, usage)
ok("stream without usage", all(c.usage is None for c in chat(stream=True)))

# n, seed
r = chat(n=3, temperature=1, seed=7)
ok("n", [c.index for c in sorted(r.choices, key=lambda c: c.index)] == [0, 1, 2], r)
again = chat(n=3, temperature=1, seed=7)
ok("seed", [c.message.content for c in r.choices] == [c.message.content for c in again.choices], (r, again))

# logprobs
r = chat(logprobs=True, top_logprobs=3, temperature=0)
lp = r.choices[0].logprobs.content
ok("logprobs", len(lp) == r.usage.completion_tokens or len(lp) == r.usage.completion_tokens - 1, (len(lp), r.usage))
ok("logprobs top", all(len(t.top_logprobs) == 3 and t.logprob <= 0 for t in lp), lp)

# stop
whole = chat(temperature=0, max_tokens=40).choices[0].message.content
stop = whole[len(whole) // 2:][:3]
cut = chat(temperature=0, max_tokens=40, stop=stop).choices[0]
ok("stop", cut.message.content == whole[: whole.index(stop)] and cut.finish_reason == "stop", (whole, stop, cut))

# structured answers
SHAPE = {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": {
    "type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"], "additionalProperties": False}}}
for temperature in (0, 1, 2):
    r = chat(response_format=SHAPE, temperature=temperature).choices[0]
    ok(f"schema at temperature {temperature}", json.loads(r.message.content)["yes"] in (True, False) and r.finish_reason == "stop", r)
r = chat(response_format={"type": "json_object"}).choices[0]
ok("JSON object", isinstance(json.loads(r.message.content), dict) and r.finish_reason == "stop", r)

# tools
TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {
    "type": "object", "properties": {"word": {"type": "string", "maxLength": 12}}, "required": ["word"], "additionalProperties": False}}}]
for choice in ("required", {"type": "function", "function": {"name": "find"}}):
    r = chat(tools=TOOLS, tool_choice=choice, parallel_tool_calls=False, max_tokens=64, seed=3).choices[0]
    call = r.message.tool_calls[0]
    ok("tool call", call.function.name == "find" and isinstance(json.loads(call.function.arguments)["word"], str) and r.finish_reason == "tool_calls", r)
    name, arguments, finish = "", "", None
    for chunk in chat(tools=TOOLS, tool_choice=choice, parallel_tool_calls=False, max_tokens=64, seed=3, stream=True):
        for c in chunk.choices:
            for part in c.delta.tool_calls or []:
                name, arguments = name + (part.function.name or ""), arguments + (part.function.arguments or "")
            finish = c.finish_reason or finish
    ok("tool call streamed", (name, arguments, finish) == ("find", call.function.arguments, "tool_calls"), (name, arguments, finish))
r = chat(messages=ASK + [{"role": "assistant", "content": None, "tool_calls": [call.model_dump()]}, {"role": "tool", "tool_call_id": call.id, "content": "a book"}])
ok("tool result", r.choices[0].message.content is not None, r)

# completions
r = api.completions.create(model=MODEL, prompt="A ledger is", max_tokens=5, temperature=0)
ok("completions", r.choices[0].text is not None and r.usage.completion_tokens <= 5, r)
parts = [c.choices[0].text for c in api.completions.create(model=MODEL, prompt="A ledger is", max_tokens=5, temperature=0, stream=True) if c.choices]
ok("completions stream", "".join(parts) == r.choices[0].text, parts)

# responses, and the conversation that goes on from one
first = api.responses.create(model=MODEL, input="What is a ledger?", max_output_tokens=24, temperature=0)
ok("responses", first.status in ("completed", "incomplete") and first.output_text and first.usage.total_tokens > 0, first)
kinds = []
with api.responses.stream(model=MODEL, input="What is a ledger?", max_output_tokens=24, temperature=0) as events:
    for e in events:
        kinds.append(e.type)
        final = e.response if e.type in ("response.completed", "response.incomplete") else None
ok("responses stream", kinds[0] == "response.created" and final.output_text == first.output_text, (kinds, final))
then = api.responses.create(model=MODEL, input="And then?", max_output_tokens=8, previous_response_id=first.id)
ok("responses go on", then.previous_response_id == first.id and then.usage.input_tokens > first.usage.input_tokens, then)
ok("responses are kept", api.responses.retrieve(first.id).output_text == first.output_text)
ok("responses have items", api.responses.input_items.list(first.id).data[0].content[0].text == "What is a ledger?")
api.responses.delete(first.id)
fails("response that is gone", openai.NotFoundError, lambda: api.responses.retrieve(first.id), 404)

# files
f = api.files.create(file=("page.txt", b"A page."), purpose="user_data")
ok("file", f.bytes == 7 and f.filename == "page.txt" and f.purpose == "user_data", f)
ok("file list", f.id in [x.id for x in api.files.list(purpose="user_data")])
ok("file content", api.files.content(f.id).read() == b"A page.")
ok("file retrieved", api.files.retrieve(f.id).id == f.id)
fails("file of nobody", openai.BadRequestError, lambda: chat(messages=[{"role": "user", "content": [{"type": "file", "file": {"file_id": "file_nobody"}}]}]), 400, "file_not_found")
ok("file deleted", api.files.delete(f.id).deleted)
fails("file that is gone", openai.NotFoundError, lambda: api.files.retrieve(f.id), 404)

# bad input
bad = openai.BadRequestError
fails("unknown model", openai.NotFoundError, lambda: chat(model="no-such-model"), 404, "model_not_found", "model")
fails("wrong type", bad, lambda: chat(extra_body={"temperature": "hot"}), 400, param="temperature")
fails("negative temperature", bad, lambda: chat(temperature=-1), 400, param="temperature")
fails("huge temperature", bad, lambda: chat(temperature=1e9), 400, param="temperature")
fails("huge top_p", bad, lambda: chat(top_p=2), 400, param="top_p")
fails("huge penalty", bad, lambda: chat(presence_penalty=99), 400, param="presence_penalty")
fails("zero max_tokens", bad, lambda: chat(max_tokens=0), 400, param="max_tokens")
fails("n too large", bad, lambda: chat(n=1000), 400, param="n")
fails("stop list too long", bad, lambda: chat(stop=["a", "b", "c", "d", "e"]), 400, param="stop")
fails("no messages", bad, lambda: chat(messages=[]), 400, param="messages")
fails("tools", bad, lambda: chat(tools=[{"type": "function"}]), 400, param="tools[0]")
fails("response_format", bad, lambda: chat(response_format={"type": "xml"}), 400, param="response_format")
fails("schema", bad, lambda: chat(response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": {"not": {}}}}), 400, "unsupported_schema")
fails("too few tokens for the schema", bad, lambda: chat(max_tokens=2, response_format=SHAPE), 400, "max_tokens_too_small", "max_tokens")
fails("image part", bad, lambda: chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]), 400)
fails("context too long", bad, lambda: chat(messages=[{"role": "user", "content": "word " * 20000}]), 400, "context_length_exceeded", "messages")
fails("context too long streaming", bad, lambda: chat(stream=True, messages=[{"role": "user", "content": "word " * 20000}]), 400, "context_length_exceeded")
fails("body too large", openai.APIStatusError, lambda: chat(messages=[{"role": "user", "content": "x" * (40 << 20)}]), 413)
fails("malformed JSON", bad, lambda: api.post("/chat/completions", cast_to=object, content=b'{"model": "x", ', options={"headers": {"content-type": "application/json"}}), 400)
fails("invalid UTF-8", bad, lambda: api.post("/chat/completions", cast_to=object, content=b'{"model":"' + MODEL.encode() + b'","messages":[{"role":"user","content":"\xff\xfe"}]}', options={"headers": {"content-type": "application/json"}}), 400)
fails("unknown key", openai.AuthenticationError, lambda: chat(OpenAI(base_url=BASE, api_key="tri_nope", max_retries=0)), 401, "invalid_api_key")
fails("revoked key", openai.AuthenticationError, lambda: chat(client("TRIARCH_KEY_REVOKED")), 401, "invalid_api_key")
fails("no money", openai.RateLimitError, lambda: chat(client("TRIARCH_KEY_POOR")), 429, "insufficient_quota", header=("x-should-retry", "false"), type="insufficient_quota")
slow = client("TRIARCH_KEY_SLOW")
chat(slow)
fails("too many requests", openai.RateLimitError, lambda: chat(slow), 429, "rate_limit_exceeded", type="requests")

print(f"{done} passed, 0 failed")
