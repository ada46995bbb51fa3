// Command matrixopenai is what ../../python/matrix_openai.py is, with the official OpenAI client for Go.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"

	"github.com/triarch-ai/triarch/test/clients/go/plan"
)

var ctx = context.Background()

type (
	obj = plan.Obj
	arr = plan.Arr
)

func client(c plan.Case) openai.Client {
	opts := []option.RequestOption{option.WithBaseURL(strings.TrimRight(os.Getenv("TRIARCH_URL"), "/") + "/v1"), option.WithAPIKey(c.KeyOr()), option.WithMaxRetries(0)}
	for k, v := range c.Headers {
		opts = append(opts, option.WithHeader(k, v))
	}
	return openai.NewClient(opts...)
}

func main() {
	plan.Run(func(p plan.Plan, c plan.Case) (obj, error) {
		switch c.API {
		case "responses":
			return respond(p, c)
		case "embeddings":
			return embed(c)
		}
		return chat(p, c)
	}, func(err error) *plan.Failed {
		var e *openai.Error
		if !errors.As(err, &e) {
			return nil
		}
		return &plan.Failed{Class: "Error", Status: e.StatusCode, Message: e.Message, Kind: e.Type, ID: e.Response != nil && e.Response.Header.Get("X-Request-Id") != ""}
	})
}

func upload(api openai.Client, p plan.Plan) (string, error) {
	data, err := base64.StdEncoding.DecodeString(p.Media.PDF)
	if err != nil {
		return "", err
	}
	f, err := api.Files.New(ctx, openai.FileNewParams{File: openai.File(bytes.NewReader(data), "page.pdf", "application/pdf"), Purpose: openai.FilePurposeUserData})
	if err != nil {
		return "", err
	}
	return f.ID, nil
}

func chatArgs(api openai.Client, p plan.Plan, c plan.Case) (obj, error) {
	text := obj{"type": "text", "text": "What is it?"}
	user := obj{"role": "user", "content": "What is it?"}
	a := obj{"model": c.Model, "messages": arr{obj{"role": "system", "content": "Be brief."}, user}, "max_completion_tokens": 4096}
	switch c.Scenario {
	case "reasoning":
		a["reasoning_effort"] = "high"
	case "tools":
		a["reasoning_effort"] = "high"
		var tools arr
		for _, n := range []string{"weather", "clock"} {
			tools = append(tools, obj{"type": "function", "function": obj{"name": n, "description": n, "parameters": plan.City}})
		}
		a["tools"] = tools
	case "media":
		user["content"] = arr{text, obj{"type": "image_url", "image_url": obj{"url": "data:image/png;base64," + p.Media.PNG}},
			obj{"type": "file", "file": obj{"filename": "page.pdf", "file_data": "data:application/pdf;base64," + p.Media.PDF}}}
	case "url":
		user["content"] = arr{text, obj{"type": "image_url", "image_url": obj{"url": p.Media.URL}}}
	case "file":
		id, err := upload(api, p)
		if err != nil {
			return nil, err
		}
		user["content"] = arr{text, obj{"type": "file", "file": obj{"file_id": id}}}
	case "schema":
		a["response_format"] = obj{"type": "json_schema", "json_schema": obj{"name": "answer", "strict": true, "schema": plan.Schema}}
	case "logprobs":
		a["logprobs"], a["top_logprobs"] = true, 2
	case "sequence":
		a["stop"] = arr{"END"}
	}
	return a, nil
}

func askChat(api openai.Client, c plan.Case, a obj) (r *openai.ChatCompletion, thought string, err error) {
	params := plan.As[openai.ChatCompletionNewParams](a)
	reasoning := func(m map[string]string) string { return m["reasoning_content"] }
	if !c.Stream {
		if r, err = api.Chat.Completions.New(ctx, params); err != nil {
			return nil, "", err
		}
		return r, reasoning(texts(r.Choices[0].Message.RawJSON())), nil
	}
	params.StreamOptions.IncludeUsage = openai.Bool(true)
	s := api.Chat.Completions.NewStreaming(ctx, params)
	var acc openai.ChatCompletionAccumulator
	for s.Next() {
		chunk := s.Current()
		if !acc.AddChunk(chunk) {
			return nil, "", errors.New("a chunk does not fit")
		}
		for _, x := range chunk.Choices {
			thought += reasoning(texts(x.Delta.RawJSON()))
		}
	}
	return &acc.ChatCompletion, thought, s.Err()
}

// texts are the members of an object that are texts: the client has no fields for what is not OpenAI's own.
func texts(raw string) map[string]string {
	var all map[string]any
	_ = json.Unmarshal([]byte(raw), &all)
	out := map[string]string{}
	for k, v := range all {
		if s, ok := v.(string); ok {
			out[k] = s
		}
	}
	return out
}

func chat(p plan.Plan, c plan.Case) (obj, error) {
	api := client(c)
	a, err := chatArgs(api, p, c)
	if err != nil {
		return nil, err
	}
	r, thought, err := askChat(api, c, a)
	if err != nil {
		return nil, err
	}
	m, u := r.Choices[0].Message, r.Usage
	var calls arr
	said := obj{"role": "assistant", "content": m.Content}
	var sayCalls, results arr
	for _, t := range m.ToolCalls {
		calls = append(calls, arr{t.Function.Name, plan.Parsed(t.Function.Arguments)})
		sayCalls = append(sayCalls, obj{"id": t.ID, "type": "function", "function": obj{"name": t.Function.Name, "arguments": t.Function.Arguments}})
		results = append(results, obj{"role": "tool", "tool_call_id": t.ID, "content": plan.Results[t.Function.Name]})
	}
	seen := obj{"text": m.Content, "refusal": m.Refusal, "thought": thought, "stop": r.Choices[0].FinishReason, "calls": calls, "in": u.PromptTokens,
		"cached": u.PromptTokensDetails.CachedTokens, "out": u.CompletionTokens, "reasoned": u.CompletionTokensDetails.ReasoningTokens}
	if c.Stream { // the accumulator adds up the totals alone
		delete(seen, "cached")
		delete(seen, "reasoned")
	}
	if c.Scenario == "logprobs" {
		var probs arr
		for _, x := range r.Choices[0].Logprobs.Content {
			probs = append(probs, arr{x.Token, x.Logprob, len(x.TopLogprobs)})
		}
		seen["probs"] = probs
	}
	if c.Scenario == "tools" {
		said["tool_calls"] = sayCalls
		a["messages"] = append(append(a["messages"].(arr), said), results...)
		then, _, err := askChat(api, c, a)
		if err != nil {
			return nil, fmt.Errorf("the second turn: %w", err)
		}
		seen["then"] = then.Choices[0].Message.Content
	}
	return seen, nil
}

func respondArgs(api openai.Client, p plan.Plan, c plan.Case) (obj, error) {
	text := obj{"type": "input_text", "text": "What is it?"}
	user := obj{"role": "user", "content": "What is it?"}
	a := obj{"model": c.Model, "instructions": "Be brief.", "input": arr{user}, "max_output_tokens": 4096}
	switch c.Scenario {
	case "reasoning", "tools":
		a["reasoning"], a["include"], a["store"] = obj{"effort": "high", "summary": "auto"}, arr{"reasoning.encrypted_content"}, false
		if c.Scenario == "tools" {
			var tools arr
			for _, n := range []string{"weather", "clock"} {
				tools = append(tools, obj{"type": "function", "name": n, "description": n, "parameters": plan.City, "strict": false})
			}
			a["tools"] = tools
		}
	case "media":
		user["content"] = arr{text, obj{"type": "input_image", "image_url": "data:image/png;base64," + p.Media.PNG, "detail": "auto"},
			obj{"type": "input_file", "filename": "page.pdf", "file_data": "data:application/pdf;base64," + p.Media.PDF}}
	case "url":
		user["content"] = arr{text, obj{"type": "input_image", "image_url": p.Media.URL, "detail": "auto"}}
	case "file":
		id, err := upload(api, p)
		if err != nil {
			return nil, err
		}
		user["content"] = arr{text, obj{"type": "input_file", "file_id": id}}
	case "schema":
		a["text"] = obj{"format": obj{"type": "json_schema", "name": "answer", "strict": true, "schema": plan.Schema}}
	case "logprobs":
		a["top_logprobs"], a["include"] = 2, arr{"message.output_text.logprobs"}
	}
	return a, nil
}

func askResponse(api openai.Client, c plan.Case, a obj) (*responses.Response, error) {
	params := plan.As[responses.ResponseNewParams](a)
	input := option.WithJSONSet("input", a["input"]) // the client cannot read a list of items back from JSON
	if !c.Stream {
		return api.Responses.New(ctx, params, input)
	}
	s := api.Responses.NewStreaming(ctx, params, input)
	var last *responses.Response
	for s.Next() {
		switch e := s.Current(); e.Type {
		case "response.completed", "response.incomplete":
			last = &e.Response
		}
	}
	if s.Err() == nil && last == nil {
		return nil, errors.New("the stream has no end")
	}
	return last, s.Err()
}

func respond(p plan.Plan, c plan.Case) (obj, error) {
	api := client(c)
	a, err := respondArgs(api, p, c)
	if err != nil {
		return nil, err
	}
	r, err := askResponse(api, c, a)
	if err != nil {
		return nil, err
	}
	var thought, refusal string
	signed := false
	var calls, probs, said, results arr
	for _, o := range r.Output {
		said = append(said, plan.Parsed(o.RawJSON()))
		switch o.Type {
		case "reasoning":
			signed = signed || o.EncryptedContent != ""
			for _, s := range o.Summary {
				thought += s.Text
			}
		case "function_call":
			calls = append(calls, arr{o.Name, plan.Parsed(o.Arguments.OfString)})
			var output any = plan.Results[o.Name]
			if o.Name == "weather" {
				output = arr{obj{"type": "input_text", "text": output}, obj{"type": "input_image", "image_url": "data:image/png;base64," + p.Media.PNG, "detail": "auto"}}
			}
			results = append(results, obj{"type": "function_call_output", "call_id": o.CallID, "output": output})
		case "message":
			for _, x := range o.Content {
				refusal += x.Refusal
				for _, l := range x.Logprobs {
					probs = append(probs, arr{l.Token, l.Logprob, len(l.TopLogprobs)})
				}
			}
		}
	}
	stop := string(r.Status)
	if stop == "incomplete" {
		stop = r.IncompleteDetails.Reason
	}
	u := r.Usage
	seen := obj{"text": r.OutputText(), "refusal": refusal, "thought": thought, "signed": signed, "stop": stop, "calls": calls, "in": u.InputTokens,
		"cached": u.InputTokensDetails.CachedTokens, "out": u.OutputTokens, "reasoned": u.OutputTokensDetails.ReasoningTokens}
	if c.Scenario == "logprobs" {
		seen["probs"] = probs
	}
	if c.Scenario == "tools" {
		a["input"] = append(append(a["input"].(arr), said...), results...)
		then, err := askResponse(api, c, a)
		if err != nil {
			return nil, fmt.Errorf("the second turn: %w", err)
		}
		seen["then"] = then.OutputText()
	}
	return seen, nil
}

func embed(c plan.Case) (obj, error) {
	api := client(c)
	r, err := api.Embeddings.New(ctx, openai.EmbeddingNewParams{Model: openai.EmbeddingModel(c.Model), Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"one", "two"}}})
	if err != nil {
		return nil, err
	}
	var list [][]float64
	for _, d := range r.Data {
		var v []float64
		for _, x := range d.Embedding {
			v = append(v, math.Round(x*1000)/1000)
		}
		list = append(list, v)
	}
	text, err := json.Marshal(list)
	return obj{"text": string(text), "in": r.Usage.PromptTokens}, err
}
