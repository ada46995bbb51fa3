// Command go drives a running Triarch with the official OpenAI client for Go, unchanged. The environment is that
// of ../python/check.py. It prints one "ok NAME" line a check and fails at the first that does not hold.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

var (
	base  = strings.TrimRight(os.Getenv("TRIARCH_URL"), "/") + "/v1"
	model = os.Getenv("TRIARCH_MODEL")
	ctx   = context.Background()
	done  int
)

func client(env string) openai.Client {
	return openai.NewClient(option.WithBaseURL(base), option.WithAPIKey(os.Getenv(env)), option.WithMaxRetries(0))
}

func ok(name string, holds bool, seen any) {
	if !holds {
		fmt.Printf("not ok %s: %+v\n", name, seen)
		os.Exit(1)
	}
	done++
	fmt.Println("ok", name)
}

func params(content string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model: model, MaxTokens: openai.Int(24), Temperature: openai.Float(0),
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(content)},
	}
}

// wrong is what a refusal must be: its status and type, and its code and param where they are given.
type wrong struct {
	status            int
	kind, code, param string
}

func fails(name, env string, p openai.ChatCompletionNewParams, w wrong, opts ...option.RequestOption) {
	c := client(env)
	got, err := c.Chat.Completions.New(ctx, p, opts...)
	var e *openai.Error
	if !errors.As(err, &e) {
		ok(name, false, fmt.Sprint(got, err))
	}
	ok(name, e.StatusCode == w.status && e.Type == w.kind && (w.code == "" || e.Code == w.code) && (w.param == "" || e.Param == w.param), e.RawJSON())
	ok(name+" request id", e.Response.Header.Get("x-request-id") != "", e.Response.Header)
	if w.code == "insufficient_quota" {
		ok(name+" header", e.Response.Header.Get("x-should-retry") == "false", e.Response.Header)
	}
}

func main() {
	api := client("TRIARCH_KEY")
	list()
	p := params("What is a ledger?")
	r, err := api.Chat.Completions.New(ctx, p)
	ok("chat", err == nil && r.Choices[0].Message.Content != "" && r.Usage.TotalTokens > 0, err)
	stream(api, p, r)

	many := params("What is a ledger?")
	many.N, many.Temperature = openai.Int(3), openai.Float(1)
	r3, err := api.Chat.Completions.New(ctx, many)
	ok("n", err == nil && len(r3.Choices) == 3, err)

	probs := params("What is a ledger?")
	probs.Logprobs, probs.TopLogprobs = openai.Bool(true), openai.Int(2)
	rp, err := api.Chat.Completions.New(ctx, probs)
	ok("logprobs", err == nil && len(rp.Choices[0].Logprobs.Content) > 0 && len(rp.Choices[0].Logprobs.Content[0].TopLogprobs) == 2, err)

	text := r.Choices[0].Message.Content
	stop := text[len(text)/2:][:2]
	halt := params("What is a ledger?")
	halt.Stop = openai.ChatCompletionNewParamsStopUnion{OfString: openai.String(stop)}
	rs, err := api.Chat.Completions.New(ctx, halt)
	ok("stop", err == nil && rs.Choices[0].Message.Content == text[:strings.Index(text, stop)], err)
	rc, err := api.Completions.New(ctx, openai.CompletionNewParams{Model: openai.CompletionNewParamsModel(model), MaxTokens: openai.Int(4),
		Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("A ledger is")}})
	ok("completions", err == nil && len(rc.Choices) == 1 && rc.Usage.CompletionTokens <= 4, err)
	refusals()
	fmt.Printf("%d passed, 0 failed\n", done)
}

func list() {
	api := client("TRIARCH_KEY")
	page, err := api.Models.List(ctx)
	found := false
	if err == nil {
		for _, m := range page.Data {
			found = found || m.ID == model
		}
	}
	ok("list", found, err)
}

func stream(api openai.Client, p openai.ChatCompletionNewParams, whole *openai.ChatCompletion) {
	p.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
	s := api.Chat.Completions.NewStreaming(ctx, p)
	acc := openai.ChatCompletionAccumulator{}
	for s.Next() {
		acc.AddChunk(s.Current())
	}
	ok("stream", s.Err() == nil && acc.Choices[0].Message.Content == whole.Choices[0].Message.Content, s.Err())
	ok("stream usage", acc.Usage.CompletionTokens == whole.Usage.CompletionTokens, acc.Usage)
}

const invalid = "invalid_request_error"

func refusals() {
	const good = "TRIARCH_KEY"
	unknown := params("hi")
	unknown.Model = "no-such-model"
	fails("unknown model", good, unknown, wrong{404, invalid, "model_not_found", "model"})
	fails("wrong type", good, params("hi"), wrong{400, invalid, "", "temperature"}, option.WithJSONSet("temperature", "hot"))
	for _, bad := range []struct {
		field string
		value float64
	}{{"temperature", -1}, {"temperature", 1e9}, {"top_p", 7}, {"presence_penalty", 99}, {"n", 1000}, {"max_tokens", 0}} {
		fails(fmt.Sprintf("%s %v", bad.field, bad.value), good, params("hi"), wrong{400, invalid, "", bad.field}, option.WithJSONSet(bad.field, bad.value))
	}
	stops := params("hi")
	stops.Stop = openai.ChatCompletionNewParamsStopUnion{OfStringArray: []string{"a", "b", "c", "d", "e"}}
	fails("stop list too long", good, stops, wrong{400, invalid, "", "stop"})
	fails("context too long", good, params(strings.Repeat("word ", 20000)), wrong{400, invalid, "context_length_exceeded", "messages"})
	fails("body too large", good, params(strings.Repeat("x", 40<<20)), wrong{status: 413, kind: invalid})
	fails("malformed JSON", good, params("hi"), wrong{status: 400, kind: invalid}, body(`{"model": "x", `))
	fails("invalid UTF-8", good, params("hi"), wrong{status: 400, kind: invalid}, body(`{"model":"`+model+`","messages":[{"role":"user","content":"`+"\xff\xfe"+`"}]}`))
	fails("revoked key", "TRIARCH_KEY_REVOKED", params("hi"), wrong{401, invalid, "invalid_api_key", ""})
	fails("no money", "TRIARCH_KEY_POOR", params("hi"), wrong{429, "insufficient_quota", "insufficient_quota", ""})
	slow := client("TRIARCH_KEY_SLOW")
	_, err := slow.Chat.Completions.New(ctx, params("hi"))
	ok("first of a slow key", err == nil, err)
	fails("too many requests", "TRIARCH_KEY_SLOW", params("hi"), wrong{429, "requests", "rate_limit_exceeded", ""})
}

func body(text string) option.RequestOption {
	return option.WithRequestBody("application/json", []byte(text))
}
