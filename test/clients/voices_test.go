package clients

import (
	"encoding/json"
	"maps"
	"strings"
)

var chatReasons = map[string]string{"end": "stop", "sequence": "stop", "refusal": "stop", "length": "length", "tools": "tool_calls", "filter": "content_filter"}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func chatProbs(t turn) any {
	if !t.probs {
		return nil
	}
	one := func(token string, p float64) obj {
		return obj{"token": token, "logprob": p, "bytes": []int{89, 101, 115}}
	}
	top := one("Yes", -0.01)
	top["top_logprobs"] = arr{one("Yes", -0.01), one("No", -4.5)}
	return obj{"content": arr{top}, "refusal": nil}
}

func chatUsage(t turn) obj {
	return obj{"prompt_tokens": t.in, "completion_tokens": t.out, "total_tokens": t.in + t.out,
		"prompt_tokens_details":     obj{"cached_tokens": t.cached, "audio_tokens": 0},
		"completion_tokens_details": obj{"reasoning_tokens": t.reasoned, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}}
}

func chatWhole(t turn) obj {
	m := obj{"role": "assistant", "content": orNull(strings.Join(t.text, "")), "refusal": orNull(t.refusal), "annotations": arr{}}
	if t.thought != "" {
		m["reasoning_content"] = t.thought
	}
	var calls arr
	for _, c := range t.calls {
		calls = append(calls, obj{"id": c.id, "type": "function", "function": obj{"name": c.name, "arguments": c.args}})
	}
	if calls != nil {
		m["tool_calls"] = calls
	}
	return obj{"id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion", "created": 1741569952, "model": "gpt-4.1-2025-04-14",
		"choices": arr{obj{"index": 0, "message": m, "logprobs": chatProbs(t), "finish_reason": chatReasons[t.stop]}}, "usage": chatUsage(t),
		"service_tier": "default", "system_fingerprint": "fp_b376dfbbd5"}
}

func chatEvents(t turn) (out []obj) {
	chunk := func(choices arr, usage any) {
		out = append(out, obj{"id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG", "object": "chat.completion.chunk", "created": 1741570283, "model": "gpt-4.1-2025-04-14",
			"service_tier": "default", "system_fingerprint": "fp_44709d6fcb", "choices": choices, "usage": usage})
	}
	delta := func(d obj, probs any, reason string) {
		chunk(arr{obj{"index": 0, "delta": d, "logprobs": probs, "finish_reason": orNull(reason)}}, nil)
	}
	delta(obj{"role": "assistant", "content": "", "refusal": nil}, nil, "")
	if t.thought != "" {
		for _, s := range halves(t.thought) {
			delta(obj{"reasoning_content": s}, nil, "")
		}
	}
	for _, s := range t.text {
		delta(obj{"content": s}, chatProbs(t), "")
	}
	if t.refusal != "" {
		for _, s := range halves(t.refusal) {
			delta(obj{"refusal": s}, nil, "")
		}
	}
	for i, c := range t.calls {
		delta(obj{"tool_calls": arr{obj{"index": i, "id": c.id, "type": "function", "function": obj{"name": c.name, "arguments": ""}}}}, nil, "")
		for _, s := range halves(c.args) {
			delta(obj{"tool_calls": arr{obj{"index": i, "function": obj{"arguments": s}}}}, nil, "")
		}
	}
	delta(obj{}, nil, chatReasons[t.stop])
	chunk(arr{}, chatUsage(t))
	return out
}

// responsesItems are the items of the output.
func responsesItems(t turn) (out []obj) {
	if t.thought != "" || t.proof {
		r := obj{"id": "rs_6876cf02e0bc8192b74af0fb64b715ff", "type": "reasoning", "summary": arr{}}
		if t.thought != "" {
			r["summary"] = arr{obj{"type": "summary_text", "text": t.thought}}
		}
		if t.proof {
			r["encrypted_content"] = proofs["responses"]
		}
		out = append(out, r)
	}
	var content arr
	if len(t.text) > 0 {
		p := obj{"type": "output_text", "text": strings.Join(t.text, ""), "annotations": arr{}, "logprobs": arr{}}
		if t.probs {
			p["logprobs"] = chatProbs(t).(obj)["content"]
		}
		content = append(content, p)
	}
	if t.refusal != "" {
		content = append(content, obj{"type": "refusal", "refusal": t.refusal})
	}
	if content != nil {
		out = append(out, obj{"id": "msg_67ccd2bf17f0819081ff3bb2cf6508e6", "type": "message", "status": "completed", "role": "assistant", "content": content})
	}
	for _, c := range t.calls {
		out = append(out, obj{"id": "fc_" + c.id, "type": "function_call", "status": "completed", "call_id": c.id, "name": c.name, "arguments": c.args})
	}
	return out
}

func responsesHead(t turn, status string) obj {
	r := obj{"id": t.id, "object": "response", "created_at": 1741476542, "status": status, "background": false,
		"error": nil, "incomplete_details": nil, "instructions": nil, "max_output_tokens": nil, "model": "gpt-4.1-2025-04-14", "output": arr{}, "parallel_tool_calls": true,
		"previous_response_id": nil, "reasoning": obj{"effort": nil, "summary": nil}, "store": true, "temperature": 1.0, "text": obj{"format": obj{"type": "text"}},
		"tool_choice": "auto", "tools": arr{}, "top_p": 1.0, "truncation": "disabled", "usage": nil, "user": nil, "metadata": obj{}}
	switch {
	case status == "in_progress":
		return r
	case t.stop == "length":
		r["status"], r["incomplete_details"] = "incomplete", obj{"reason": "max_output_tokens"}
	case t.stop == "filter":
		r["status"], r["incomplete_details"] = "incomplete", obj{"reason": "content_filter"}
	}
	r["output"] = responsesItems(t)
	r["usage"] = obj{"input_tokens": t.in, "input_tokens_details": obj{"cached_tokens": t.cached}, "output_tokens": t.out,
		"output_tokens_details": obj{"reasoning_tokens": t.reasoned}, "total_tokens": t.in + t.out}
	return r
}

func responsesWhole(t turn) obj { return responsesHead(t, "completed") }

func responsesEvents(t turn) (out []obj) {
	say := func(kind string, more obj) {
		e := obj{"type": kind, "sequence_number": len(out)}
		maps.Copy(e, more)
		out = append(out, e)
	}
	say("response.created", obj{"response": responsesHead(t, "in_progress")})
	say("response.in_progress", obj{"response": responsesHead(t, "in_progress")})
	for i, it := range responsesItems(t) {
		at := obj{"output_index": i, "item_id": it["id"]}
		with := func(more obj) obj {
			maps.Copy(more, at)
			return more
		}
		begun := obj{}
		maps.Copy(begun, it)
		switch it["type"] {
		case "reasoning":
			delete(begun, "encrypted_content")
			begun["summary"] = arr{}
			say("response.output_item.added", obj{"output_index": i, "item": begun})
			if t.thought != "" {
				say("response.reasoning_summary_part.added", with(obj{"summary_index": 0, "part": obj{"type": "summary_text", "text": ""}}))
				for _, s := range halves(t.thought) {
					say("response.reasoning_summary_text.delta", with(obj{"summary_index": 0, "delta": s}))
				}
				say("response.reasoning_summary_text.done", with(obj{"summary_index": 0, "text": t.thought}))
				say("response.reasoning_summary_part.done", with(obj{"summary_index": 0, "part": obj{"type": "summary_text", "text": t.thought}}))
			}
		case "message":
			begun["status"], begun["content"] = "in_progress", arr{}
			say("response.output_item.added", obj{"output_index": i, "item": begun})
			for j, p := range it["content"].(arr) {
				part := p.(obj)
				at["content_index"] = j
				if part["type"] == "refusal" {
					say("response.content_part.added", with(obj{"part": obj{"type": "refusal", "refusal": ""}}))
					for _, s := range halves(t.refusal) {
						say("response.refusal.delta", with(obj{"delta": s}))
					}
					say("response.refusal.done", with(obj{"refusal": t.refusal}))
				} else {
					say("response.content_part.added", with(obj{"part": obj{"type": "output_text", "text": "", "annotations": arr{}, "logprobs": arr{}}}))
					for _, s := range t.text {
						say("response.output_text.delta", with(obj{"delta": s, "logprobs": part["logprobs"]}))
					}
					say("response.output_text.done", with(obj{"text": part["text"], "logprobs": part["logprobs"]}))
				}
				say("response.content_part.done", with(obj{"part": part}))
				delete(at, "content_index")
			}
		case "function_call":
			begun["status"], begun["arguments"] = "in_progress", ""
			say("response.output_item.added", obj{"output_index": i, "item": begun})
			for _, s := range halves(it["arguments"].(string)) {
				say("response.function_call_arguments.delta", with(obj{"delta": s}))
			}
			say("response.function_call_arguments.done", with(obj{"arguments": it["arguments"], "name": it["name"]}))
		}
		say("response.output_item.done", obj{"output_index": i, "item": it})
	}
	whole := responsesWhole(t)
	say("response."+whole["status"].(string), obj{"response": whole})
	return out
}

var anthropicReasons = map[string]string{"end": "end_turn", "sequence": "stop_sequence", "refusal": "refusal", "filter": "refusal", "length": "max_tokens", "tools": "tool_use"}

func anthropicBlocks(t turn) (out []obj) {
	if t.thought != "" || t.proof {
		out = append(out, obj{"type": "thinking", "thinking": t.thought, "signature": proofs["anthropic"]})
	}
	if text := strings.Join(t.text, "") + t.refusal; text != "" {
		out = append(out, obj{"type": "text", "text": text})
	}
	for _, c := range t.calls {
		out = append(out, obj{"type": "tool_use", "id": c.id, "name": c.name, "input": json.RawMessage(c.args)})
	}
	return out
}

func anthropicUsage(t turn, out int) obj {
	return obj{"input_tokens": t.in - t.cached - t.written, "cache_creation_input_tokens": t.written, "cache_read_input_tokens": t.cached,
		"cache_creation": obj{"ephemeral_5m_input_tokens": t.written, "ephemeral_1h_input_tokens": 0}, "output_tokens": out, "service_tier": "standard"}
}

func anthropicStop(t turn) (reason string, sequence any) {
	if t.stop == "sequence" {
		sequence = "END"
	}
	return anthropicReasons[t.stop], sequence
}

func anthropicWhole(t turn) obj {
	reason, sequence := anthropicStop(t)
	u := anthropicUsage(t, t.out)
	u["output_tokens_details"] = obj{"thinking_tokens": t.reasoned}
	return obj{"id": "msg_01XFDUDYJgAACzvnptvVoYEL", "type": "message", "role": "assistant", "model": "claude-opus-4-6", "content": anthropicBlocks(t),
		"stop_reason": reason, "stop_sequence": sequence, "usage": u}
}

func anthropicEvents(t turn) (out []obj) {
	out = append(out, obj{"type": "message_start", "message": obj{"id": "msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyY", "type": "message", "role": "assistant", "content": arr{},
		"model": "claude-opus-4-6", "stop_reason": nil, "stop_sequence": nil, "usage": anthropicUsage(t, 1)}}, obj{"type": "ping"})
	for i, b := range anthropicBlocks(t) {
		delta := func(kind, name, text string) {
			out = append(out, obj{"type": "content_block_delta", "index": i, "delta": obj{"type": kind, name: text}})
		}
		begin := func(b obj) {
			out = append(out, obj{"type": "content_block_start", "index": i, "content_block": b})
		}
		switch b["type"] {
		case "thinking":
			begin(obj{"type": "thinking", "thinking": "", "signature": ""})
			if t.thought != "" {
				for _, s := range halves(t.thought) {
					delta("thinking_delta", "thinking", s)
				}
			}
			delta("signature_delta", "signature", b["signature"].(string))
		case "text":
			begin(obj{"type": "text", "text": ""})
			for _, s := range halves(b["text"].(string)) {
				delta("text_delta", "text", s)
			}
		case "tool_use":
			begin(obj{"type": "tool_use", "id": b["id"], "name": b["name"], "input": obj{}})
			delta("input_json_delta", "partial_json", "")
			for _, s := range halves(string(b["input"].(json.RawMessage))) {
				delta("input_json_delta", "partial_json", s)
			}
		}
		out = append(out, obj{"type": "content_block_stop", "index": i})
	}
	reason, sequence := anthropicStop(t)
	return append(out, obj{"type": "message_delta", "delta": obj{"stop_reason": reason, "stop_sequence": sequence},
		"usage": obj{"output_tokens": t.out, "output_tokens_details": obj{"thinking_tokens": t.reasoned}}}, obj{"type": "message_stop"})
}

var googleReasons = map[string]string{"end": "STOP", "sequence": "STOP", "tools": "STOP", "refusal": "SAFETY", "filter": "SAFETY", "length": "MAX_TOKENS"}

func googleParts(t turn) (out arr) {
	if t.thought != "" {
		out = append(out, obj{"text": t.thought, "thought": true})
	}
	for _, s := range append(t.text, t.refusal) {
		if s != "" {
			out = append(out, obj{"text": s})
		}
	}
	for i, c := range t.calls {
		p := obj{"functionCall": obj{"id": c.id, "name": c.name, "args": json.RawMessage(c.args)}}
		if i == 0 && t.proof {
			p["thoughtSignature"] = proofs["google"]
		}
		out = append(out, p)
	}
	if t.proof && t.calls == nil {
		out[len(out)-1].(obj)["thoughtSignature"] = proofs["google"]
	}
	return out
}

func googlePiece(t turn, parts arr, reason string) obj {
	c := obj{"content": obj{"parts": parts, "role": "model"}, "index": 0}
	if reason != "" {
		c["finishReason"] = reason
		if t.probs {
			one := func(token string, p float64) obj { return obj{"token": token, "tokenId": 7, "logProbability": p} }
			c["avgLogprobs"] = -0.01
			c["logprobsResult"] = obj{"topCandidates": arr{obj{"candidates": arr{one("Yes", -0.01), one("No", -4.5)}}}, "chosenCandidates": arr{one("Yes", -0.01)}}
		}
	}
	u := obj{"promptTokenCount": t.in, "totalTokenCount": t.in + t.out, "promptTokensDetails": arr{obj{"modality": "TEXT", "tokenCount": t.in}}}
	if reason != "" {
		u["candidatesTokenCount"] = t.out - t.reasoned
		if t.reasoned > 0 {
			u["thoughtsTokenCount"] = t.reasoned
		}
	}
	if t.cached > 0 {
		u["cachedContentTokenCount"] = t.cached
	}
	return obj{"candidates": arr{c}, "usageMetadata": u, "modelVersion": "gemini-2.5-flash", "responseId": "mAitaLmkHPPlz7IPvtfUqQ4"}
}

func googleWhole(t turn) obj { return googlePiece(t, googleParts(t), googleReasons[t.stop]) }

func googleEvents(t turn) (out []obj) {
	parts := googleParts(t)
	for i, p := range parts {
		reason := ""
		if i == len(parts)-1 {
			reason = googleReasons[t.stop]
		}
		out = append(out, googlePiece(t, arr{p}, reason))
	}
	return out
}
