"""As matrix_openai.py, with the official Anthropic client for Python."""

import functools
import json
import os

import anthropic

with open(os.environ["TRIARCH_CASES"]) as f:
    plan = json.load(f)
MEDIA = plan["media"]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
CITY = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
RESULTS = {"weather": "18 degrees", "clock": "12:00"}


@functools.cache
def made(key, headers):
    return anthropic.Anthropic(base_url=os.environ["TRIARCH_URL"].rstrip("/"), api_key=key, max_retries=0, timeout=60, default_headers=dict(headers))


def client(case):
    return made(case.get("key") or os.environ["TRIARCH_KEY"], tuple((case.get("headers") or {}).items()))


def args_of(s):
    text = {"type": "text", "text": "What is it?"}
    png = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": MEDIA["png"]}}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": MEDIA["pdf"]}}
    a = {"system": "Be brief.", "messages": [{"role": "user", "content": "What is it?"}], "max_tokens": 4096}
    user = a["messages"][0]
    if s in ("reasoning", "tools"):
        a["thinking"] = {"type": "enabled", "budget_tokens": 2048}
    if s == "tools":
        a["tools"] = [{"name": n, "description": n, "input_schema": CITY} for n in RESULTS]
    if s == "media":
        user["content"] = [text, png, pdf]
    if s == "url":
        user["content"] = [text, {"type": "image", "source": {"type": "url", "url": MEDIA["url"]}}]
    if s == "schema":
        a["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
    if s == "sequence":
        a["stop_sequences"] = ["END"]
    if s == "cache":
        a["system"] = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    return a


def ask(api, case, args):
    if not case["stream"]:
        return api.messages.create(model=case["model"], **args)
    with api.messages.stream(model=case["model"], **args) as events:
        for e in events:
            if e.type == "message_start":
                assert e.message.usage.input_tokens + (e.message.usage.cache_read_input_tokens or 0) > 0, e
        return events.get_final_message()


def run(case):
    api, s = client(case), case["scenario"]
    args = args_of(s)
    r = ask(api, case, args)
    of = lambda kind: [b for b in r.content if b.type == kind]
    u = r.usage
    seen = {"text": "".join(b.text for b in of("text")), "thought": "".join(b.thinking for b in of("thinking")),
            "signed": any(b.signature for b in of("thinking")) or bool(of("redacted_thinking")), "stop": r.stop_reason, "sequence": r.stop_sequence or "",
            "calls": [[b.name, b.input] for b in of("tool_use")], "in": u.input_tokens + (u.cache_read_input_tokens or 0) + (u.cache_creation_input_tokens or 0),
            "cached": u.cache_read_input_tokens or 0, "written": u.cache_creation_input_tokens or 0, "out": u.output_tokens,
            "reasoned": u.output_tokens_details.thinking_tokens if u.output_tokens_details else 0}
    if s == "tools":
        rich = [{"type": "text", "text": RESULTS["weather"]}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": MEDIA["png"]}}]
        results = [{"type": "tool_result", "tool_use_id": b.id, "content": rich if b.name == "weather" else RESULTS[b.name]} for b in of("tool_use")]
        turns = args["messages"] + [{"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in r.content]}, {"role": "user", "content": results}]
        seen["then"] = "".join(b.text for b in ask(api, case, args | {"messages": turns}).content if b.type == "text")
    return seen


for case in plan["cases"]:
    try:
        line = {"seen": run(case)}
    except anthropic.APIStatusError as e:
        kind = e.body.get("error", {}).get("type", "") if isinstance(e.body, dict) else ""
        line = {"error": {"class": type(e).__name__, "status": e.status_code, "message": str(e), "kind": kind, "id": bool(e.request_id)}}
    except Exception as e:
        line = {"error": {"class": type(e).__name__, "message": repr(e)}}
    print(json.dumps({"case": case["id"]} | line), flush=True)
