// Command matrixanthropic is what ../../python/matrix_anthropic.py is, with the official Anthropic client for Go.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"github.com/triarch-ai/triarch/test/clients/go/plan"
)

var ctx = context.Background()

type (
	obj = plan.Obj
	arr = plan.Arr
)

func main() {
	plan.Run(run, func(err error) *plan.Failed {
		var e *anthropic.Error
		if !errors.As(err, &e) {
			return nil
		}
		kind, _ := plan.Parsed(e.RawJSON()).(obj)
		inner, _ := kind["error"].(obj)
		word, _ := inner["type"].(string)
		return &plan.Failed{Class: "Error", Status: e.StatusCode, Message: e.Error(), Kind: word, ID: e.RequestID != ""}
	})
}

func args(p plan.Plan, c plan.Case) obj {
	text := obj{"type": "text", "text": "What is it?"}
	user := obj{"role": "user", "content": arr{text}}
	a := obj{"model": c.Model, "system": arr{obj{"type": "text", "text": "Be brief."}}, "messages": arr{user}, "max_tokens": 4096}
	switch c.Scenario {
	case "reasoning", "tools":
		a["thinking"] = obj{"type": "enabled", "budget_tokens": 2048}
		if c.Scenario == "tools" {
			var tools arr
			for _, n := range []string{"weather", "clock"} {
				tools = append(tools, obj{"name": n, "description": n, "input_schema": plan.City})
			}
			a["tools"] = tools
		}
	case "media":
		user["content"] = arr{text, image(p), obj{"type": "document", "source": obj{"type": "base64", "media_type": "application/pdf", "data": p.Media.PDF}}}
	case "url":
		user["content"] = arr{text, obj{"type": "image", "source": obj{"type": "url", "url": p.Media.URL}}}
	case "schema":
		a["output_config"] = obj{"format": obj{"type": "json_schema", "schema": plan.Schema}}
	case "sequence":
		a["stop_sequences"] = arr{"END"}
	case "cache":
		a["system"] = arr{obj{"type": "text", "text": "Be brief.", "cache_control": obj{"type": "ephemeral"}}}
	}
	return a
}

func image(p plan.Plan) obj {
	return obj{"type": "image", "source": obj{"type": "base64", "media_type": "image/png", "data": p.Media.PNG}}
}

func ask(api anthropic.Client, c plan.Case, params anthropic.MessageNewParams) (*anthropic.Message, error) {
	if !c.Stream {
		return api.Messages.New(ctx, params)
	}
	s := api.Messages.NewStreaming(ctx, params)
	var m anthropic.Message
	for s.Next() {
		if err := m.Accumulate(s.Current()); err != nil {
			return nil, err
		}
	}
	return &m, s.Err()
}

func run(p plan.Plan, c plan.Case) (obj, error) {
	opts := []option.RequestOption{option.WithBaseURL(strings.TrimRight(os.Getenv("TRIARCH_URL"), "/")), option.WithAPIKey(c.KeyOr()), option.WithMaxRetries(0)}
	for k, v := range c.Headers {
		opts = append(opts, option.WithHeader(k, v))
	}
	api := anthropic.NewClient(opts...)
	params := plan.As[anthropic.MessageNewParams](args(p, c))
	r, err := ask(api, c, params)
	if err != nil {
		return nil, err
	}
	var text, thought string
	signed := false
	var calls arr
	var results []anthropic.ContentBlockParamUnion
	for _, b := range r.Content {
		switch b.Type {
		case "text":
			text += b.Text
		case "thinking":
			thought, signed = thought+b.Thinking, signed || b.Signature != ""
		case "redacted_thinking":
			signed = true
		case "tool_use":
			calls = append(calls, arr{b.Name, plan.Parsed(string(b.Input))})
			content := arr{obj{"type": "text", "text": plan.Results[b.Name]}}
			if b.Name == "weather" {
				content = append(content, image(p))
			}
			results = append(results, plan.As[anthropic.ContentBlockParamUnion](obj{"type": "tool_result", "tool_use_id": b.ID, "content": content}))
		}
	}
	u := r.Usage
	seen := obj{"text": text, "thought": thought, "signed": signed, "stop": string(r.StopReason), "sequence": r.StopSequence, "calls": calls,
		"in": u.InputTokens + u.CacheReadInputTokens + u.CacheCreationInputTokens, "cached": u.CacheReadInputTokens, "written": u.CacheCreationInputTokens, "out": u.OutputTokens,
		"reasoned": u.OutputTokensDetails.ThinkingTokens}
	if c.Scenario == "tools" {
		params.Messages = append(params.Messages, r.ToParam(), anthropic.NewUserMessage(results...))
		then, err := ask(api, c, params)
		if err != nil {
			return nil, fmt.Errorf("the second turn: %w", err)
		}
		seen["then"] = then.Content[0].Text
	}
	return seen, nil
}
