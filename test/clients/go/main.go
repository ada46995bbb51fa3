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

func fails(name, env string, p openai.ChatCompletionNewParams, status int, code, param string) {
	c := client(env)
	got, err := c.Chat.Completions.New(ctx, p)
	var e *openai.Error
	if !errors.As(err, &e) {
		ok(name, false, fmt.Sprint(got, err))
	}
	ok(name, e.StatusCode == status && (code == "" || e.Code == code) && (param == "" || e.Param == param), e.RawJSON())
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

func refusals() {
	unknown := params("hi")
	unknown.Model = "no-such-model"
	fails("unknown model", "TRIARCH_KEY", unknown, 404, "model_not_found", "")
	hot := params("hi")
	hot.Temperature = openai.Float(-1)
	fails("negative temperature", "TRIARCH_KEY", hot, 400, "", "temperature")
	stops := params("hi")
	stops.Stop = openai.ChatCompletionNewParamsStopUnion{OfStringArray: []string{"a", "b", "c", "d", "e"}}
	fails("stop list too long", "TRIARCH_KEY", stops, 400, "", "stop")
	fails("context too long", "TRIARCH_KEY", params(strings.Repeat("word ", 20000)), 400, "context_length_exceeded", "")
	fails("body too large", "TRIARCH_KEY", params(strings.Repeat("x", 40<<20)), 413, "", "")
	fails("revoked key", "TRIARCH_KEY_REVOKED", params("hi"), 401, "invalid_api_key", "")
	fails("no money", "TRIARCH_KEY_POOR", params("hi"), 429, "insufficient_quota", "")
	slow := client("TRIARCH_KEY_SLOW")
	_, err := slow.Chat.Completions.New(ctx, params("hi"))
	ok("first of a slow key", err == nil, err)
	fails("too many requests", "TRIARCH_KEY_SLOW", params("hi"), 429, "rate_limit_exceeded", "")
}
