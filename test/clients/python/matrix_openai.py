"""Asks a running Triarch for each case of TRIARCH_CASES with the official OpenAI client for Python, unchanged, by chat
completions or by responses, and prints a line of JSON for each: what the client's own objects and exceptions say."""

import base64
import functools
import io
import json
import os
import types

import openai

with open(os.environ["TRIARCH_CASES"]) as f:
    plan = json.load(f)
MEDIA = plan["media"]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
CITY = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
RESULTS = {"weather": "18 degrees", "clock": "12:00"}


@functools.cache
def made(key, headers):
    return openai.OpenAI(base_url=os.environ["TRIARCH_URL"].rstrip("/") + "/v1", api_key=key, max_retries=0, timeout=60, default_headers=dict(headers))


def client(case):
    return made(case.get("key") or os.environ["TRIARCH_KEY"], tuple((case.get("headers") or {}).items()))


def upload(api):
    return api.files.create(file=("page.pdf", io.BytesIO(base64.b64decode(MEDIA["pdf"]))), purpose="user_data").id


def extra(o, name):
    return getattr(o, name, None) or (o.model_extra or {}).get(name)


def chat_args(api, s):
    text = {"type": "text", "text": "What is it?"}
    png = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + MEDIA["png"]}}
    pdf = {"type": "file", "file": {"filename": "page.pdf", "file_data": "data:application/pdf;base64," + MEDIA["pdf"]}}
    a = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is it?"}], "max_completion_tokens": 4096}
    user = a["messages"][1]
    if s in ("reasoning", "tools"):
        a["reasoning_effort"] = "high"
    if s == "tools":
        a["tools"] = [{"type": "function", "function": {"name": n, "description": n, "parameters": CITY}} for n in RESULTS]
    if s == "media":
        user["content"] = [text, png, pdf]
    if s == "url":
        user["content"] = [text, {"type": "image_url", "image_url": {"url": MEDIA["url"]}}]
    if s == "file":
        user["content"] = [text, {"type": "file", "file": {"file_id": upload(api)}}]
    if s == "schema":
        a["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
    if s == "logprobs":
        a |= {"logprobs": True, "top_logprobs": 2}
    if s == "sequence":
        a["stop"] = ["END"]
    return a


def pieces(api, case, args):
    """Joins the chunks of a stream by hand: the helper raises an exception of its own for answers that were cut."""
    text, refusal, stop, usage = "", "", None, None
    for chunk in api.chat.completions.create(model=case["model"], stream=True, stream_options={"include_usage": True}, **args):
        for c in chunk.choices:
            text, refusal, stop = text + (c.delta.content or ""), refusal + (c.delta.refusal or ""), c.finish_reason or stop
        usage = chunk.usage or usage
    m = openai.types.chat.ChatCompletionMessage(role="assistant", content=text, refusal=refusal)
    return types.SimpleNamespace(message=m, finish_reason=stop), usage


def chat(api, case, args):
    if not case["stream"]:
        r = api.chat.completions.create(model=case["model"], **args)
        return r.choices[0], r.usage
    if case["scenario"] in ("length", "refusal"):
        return pieces(api, case, args)
    thoughts, last = "", None
    with api.chat.completions.stream(model=case["model"], stream_options={"include_usage": True}, **args) as events:
        for e in events:
            if e.type == "chunk":
                for c in e.chunk.choices:
                    thoughts += extra(c.delta, "reasoning_content") or ""
        last = events.get_final_completion()
    last.choices[0].message.__dict__["thoughts"] = thoughts
    return last.choices[0], last.usage


def chat_case(case):
    api, s = client(case), case["scenario"]
    args = chat_args(api, s)
    c, u = chat(api, case, args)
    m = c.message
    seen = {"text": m.content or "", "refusal": m.refusal or "", "thought": m.__dict__.get("thoughts") or extra(m, "reasoning_content") or "", "stop": c.finish_reason,
            "calls": [[t.function.name, json.loads(t.function.arguments)] for t in m.tool_calls or []],
            "in": u.prompt_tokens, "cached": u.prompt_tokens_details.cached_tokens if u.prompt_tokens_details else 0, "out": u.completion_tokens,
            "reasoned": (u.completion_tokens_details.reasoning_tokens or 0) if u.completion_tokens_details else 0}
    if s == "logprobs":
        seen["probs"] = [[p.token, p.logprob, len(p.top_logprobs)] for p in c.logprobs.content]
    if s == "tools":
        said = {"role": "assistant", "content": m.content,
                "tool_calls": [{"id": t.id, "type": "function", "function": {"name": t.function.name, "arguments": t.function.arguments}} for t in m.tool_calls]}
        results = [{"role": "tool", "tool_call_id": t.id, "content": RESULTS[t.function.name]} for t in m.tool_calls]
        seen["then"] = chat(api, case, args | {"messages": args["messages"] + [said] + results})[0].message.content
    return seen


def responses_args(api, s):
    text = {"type": "input_text", "text": "What is it?"}
    png = {"type": "input_image", "image_url": "data:image/png;base64," + MEDIA["png"], "detail": "auto"}
    pdf = {"type": "input_file", "filename": "page.pdf", "file_data": "data:application/pdf;base64," + MEDIA["pdf"]}
    a = {"instructions": "Be brief.", "input": [{"role": "user", "content": "What is it?"}], "max_output_tokens": 4096}
    user = a["input"][0]
    if s in ("reasoning", "tools"):
        a |= {"reasoning": {"effort": "high", "summary": "auto"}, "include": ["reasoning.encrypted_content"], "store": False}
    if s == "tools":
        a["tools"] = [{"type": "function", "name": n, "description": n, "parameters": CITY, "strict": False} for n in RESULTS]
    if s == "media":
        user["content"] = [text, png, pdf]
    if s == "url":
        user["content"] = [text, {"type": "input_image", "image_url": MEDIA["url"], "detail": "auto"}]
    if s == "file":
        user["content"] = [text, {"type": "input_file", "file_id": upload(api)}]
    if s == "schema":
        a["text"] = {"format": {"type": "json_schema", "name": "answer", "strict": True, "schema": SCHEMA}}
    if s == "logprobs":
        a |= {"top_logprobs": 2, "include": ["message.output_text.logprobs"]}
    return a


def responses(api, case, args):
    if not case["stream"]:
        return api.responses.create(model=case["model"], **args)
    with api.responses.stream(model=case["model"], **args) as events:
        text, last = "", None
        for e in events:
            text += e.delta if e.type == "response.output_text.delta" else ""
            last = e.response if e.type in ("response.completed", "response.incomplete") else last
    assert text == last.output_text, (text, last)
    return last


def responses_case(case):
    api, s = client(case), case["scenario"]
    args = responses_args(api, s)
    r = responses(api, case, args)
    reasoning = [o for o in r.output if o.type == "reasoning"]
    calls = [o for o in r.output if o.type == "function_call"]
    parts = [p for o in r.output if o.type == "message" for p in o.content]
    seen = {"text": r.output_text, "refusal": "".join(p.refusal for p in parts if p.type == "refusal"),
            "thought": "".join(t.text for o in reasoning for t in o.summary), "signed": any(o.encrypted_content for o in reasoning),
            "stop": r.incomplete_details.reason if r.status == "incomplete" else r.status, "calls": [[c.name, json.loads(c.arguments)] for c in calls],
            "in": r.usage.input_tokens, "cached": r.usage.input_tokens_details.cached_tokens, "out": r.usage.output_tokens,
            "reasoned": r.usage.output_tokens_details.reasoning_tokens}
    if s == "logprobs":
        seen["probs"] = [[p.token, p.logprob, len(p.top_logprobs)] for part in parts for p in part.logprobs]
    if s == "tools":
        rich = [{"type": "input_text", "text": RESULTS["weather"]}, {"type": "input_image", "image_url": "data:image/png;base64," + MEDIA["png"], "detail": "auto"}]
        results = [{"type": "function_call_output", "call_id": c.call_id, "output": rich if c.name == "weather" else RESULTS[c.name]} for c in calls]
        said = [o.model_dump(exclude_none=True) for o in r.output]
        seen["then"] = responses(api, case, args | {"input": args["input"] + said + results}).output_text
    if s == "plain": # a conversation that is kept here
        first = responses(api, case, args)
        again = responses(api, case, {"input": "And now?", "previous_response_id": first.id})
        seen["then"] = again.output_text
        assert api.responses.retrieve(first.id).output_text == first.output_text
    return seen


def embed_case(case):
    r = client(case).embeddings.create(model=case["model"], input=["one", "two"])
    return {"text": json.dumps([[round(x, 3) for x in d.embedding] for d in r.data], separators=(",", ":")), "in": r.usage.prompt_tokens}


RUN = {"chat": chat_case, "responses": responses_case, "embeddings": embed_case}
for case in plan["cases"]:
    try:
        line = {"seen": RUN[case["api"]](case)}
    except openai.APIStatusError as e:
        line = {"error": {"class": type(e).__name__, "status": e.status_code, "message": str(e), "kind": e.type or "", "id": bool(e.request_id)}}
    except Exception as e:
        line = {"error": {"class": type(e).__name__, "message": repr(e)}}
    print(json.dumps({"case": case["id"]} | line), flush=True)
