// Command anthropic drives a running Triarch with the official Anthropic client for Go, unchanged. The environment is
// that of ../../python/check.py. It prints one "ok NAME" line a check and fails at the first that does not hold.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
)

var (
	base  = strings.TrimRight(os.Getenv("TRIARCH_URL"), "/")
	model = os.Getenv("TRIARCH_MODEL")
	ctx   = context.Background()
	done  int
)

func client(env string) anthropic.Client {
	return anthropic.NewClient(option.WithBaseURL(base), option.WithAPIKey(os.Getenv(env)), option.WithMaxRetries(0))
}

func ok(name string, holds bool, seen any) {
	if !holds {
		fmt.Printf("not ok %s: %+v\n", name, seen)
		os.Exit(1)
	}
	done++
	fmt.Println("ok", name)
}

func params(content string) anthropic.MessageNewParams {
	return anthropic.MessageNewParams{Model: anthropic.Model(model), MaxTokens: 24, Temperature: anthropic.Float(0),
		Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(content))}}
}

func fails(name, env string, p anthropic.MessageNewParams, status int, kind string) {
	c := client(env)
	got, err := c.Messages.New(ctx, p)
	var e *anthropic.Error
	if !errors.As(err, &e) {
		ok(name, false, fmt.Sprint(got, err))
	}
	ok(name, e.StatusCode == status && strings.Contains(e.RawJSON(), `"`+kind+`"`), e.RawJSON())
	ok(name+" request id", e.RequestID != "", e)
}

func main() {
	api := client("TRIARCH_KEY")
	models, err := api.Models.List(ctx, anthropic.ModelListParams{})
	ok("list", err == nil && len(models.Data) > 0, err)
	p := params("What is a ledger?")
	r, err := api.Messages.New(ctx, p)
	ok("messages", err == nil && r.Content[0].Text != "" && r.Usage.OutputTokens > 0, err)
	s := api.Messages.NewStreaming(ctx, p)
	whole := anthropic.Message{}
	for s.Next() {
		if err := whole.Accumulate(s.Current()); err != nil {
			ok("stream", false, err)
		}
	}
	ok("stream", s.Err() == nil && whole.Content[0].Text == r.Content[0].Text && whole.StopReason == r.StopReason, s.Err())
	ok("stream usage", whole.Usage.OutputTokens == r.Usage.OutputTokens, whole.Usage)
	n, err := api.Messages.CountTokens(ctx, anthropic.MessageCountTokensParams{Model: p.Model, Messages: p.Messages})
	ok("count", err == nil && n.InputTokens == r.Usage.InputTokens, err)

	tool := params("A")
	tool.MaxTokens = 100
	tool.Tools = []anthropic.ToolUnionParam{{OfTool: &anthropic.ToolParam{Name: "f", InputSchema: anthropic.ToolInputSchemaParam{
		Properties: map[string]any{"n": map[string]any{"type": "integer"}}, Required: []string{"n"}}}}}
	tool.ToolChoice = anthropic.ToolChoiceUnionParam{OfTool: &anthropic.ToolChoiceToolParam{Name: "f"}}
	called, err := api.Messages.New(ctx, tool)
	ok("tool", err == nil && called.StopReason == "tool_use" && called.Content[len(called.Content)-1].Name == "f", err)

	unknown := params("hi")
	unknown.Model = "no-such-model"
	fails("unknown model", "TRIARCH_KEY", unknown, 404, "not_found_error")
	fails("context too long", "TRIARCH_KEY", params(strings.Repeat("word ", 20000)), 400, "invalid_request_error")
	fails("body too large", "TRIARCH_KEY", params(strings.Repeat("x", 40<<20)), 413, "request_too_large")
	fails("revoked key", "TRIARCH_KEY_REVOKED", params("hi"), 401, "authentication_error")
	fails("no money", "TRIARCH_KEY_POOR", params("hi"), 402, "billing_error")
	slow := client("TRIARCH_KEY_SLOW")
	_, err = slow.Messages.New(ctx, params("hi"))
	ok("first of a slow key", err == nil, err)
	fails("too many requests", "TRIARCH_KEY_SLOW", params("hi"), 429, "rate_limit_error")
	fmt.Printf("%d passed, 0 failed\n", done)
}
