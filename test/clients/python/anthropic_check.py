"""Drives a running Triarch with the official Anthropic client for Python, unchanged, as check.py does with OpenAI's."""

import os
import sys

import anthropic

BASE = os.environ["TRIARCH_URL"].rstrip("/")
MODEL = os.environ["TRIARCH_MODEL"]
ASK = [{"role": "user", "content": "What is a ledger?"}]
done = 0


def ok(name, holds, seen=None):
    global done
    if not holds:
        print(f"not ok {name}: {seen}")
        sys.exit(1)
    done += 1
    print("ok", name)


def client(name="TRIARCH_KEY"):
    return anthropic.Anthropic(base_url=BASE, api_key=os.environ[name], max_retries=0, timeout=60)


api = client()


def say(who=api, **more):
    return who.messages.create(**{"model": MODEL, "messages": ASK, "max_tokens": 24, **more})


def fails(name, kind, status, word, call):
    try:
        ok(name, False, call())
    except anthropic.APIStatusError as e:
        ok(name, isinstance(e, kind) and e.status_code == status and e.body["error"]["type"] == word, (e.status_code, e.body))


ok("list", MODEL in [m.id for m in api.models.list()])
r = say()
ok("messages", r.content[0].text and r.usage.output_tokens > 0, r)
with api.messages.stream(model=MODEL, messages=ASK, max_tokens=24) as s:
    text = "".join(s.text_stream)
    last = s.get_final_message()
ok("stream", text and last.content[0].text == text and last.usage.input_tokens == r.usage.input_tokens, last)
ok("count", api.messages.count_tokens(model=MODEL, messages=ASK).input_tokens == r.usage.input_tokens, r.usage)
tool = {"name": "f", "input_schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}
called = say(tools=[tool], tool_choice={"type": "tool", "name": "f"}, max_tokens=100, messages=[{"role": "user", "content": "A"}])
ok("tool", called.stop_reason == "tool_use" and isinstance(called.content[0].input["n"], int), called)
fails("unknown model", anthropic.NotFoundError, 404, "not_found_error", lambda: say(model="no-such-model"))
fails("no messages", anthropic.BadRequestError, 400, "invalid_request_error", lambda: say(messages=[]))
fails("body too large", anthropic.APIStatusError, 413, "request_too_large", lambda: say(messages=[{"role": "user", "content": "x" * (40 << 20)}]))
fails("revoked key", anthropic.AuthenticationError, 401, "authentication_error", lambda: say(client("TRIARCH_KEY_REVOKED")))
fails("no money", anthropic.APIStatusError, 402, "billing_error", lambda: say(client("TRIARCH_KEY_POOR")))
slow = client("TRIARCH_KEY_SLOW")
say(slow)
fails("too many requests", anthropic.RateLimitError, 429, "rate_limit_error", lambda: say(slow))
print(f"{done} passed, 0 failed")
