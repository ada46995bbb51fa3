// Command matrixgoogle is what ../../python/matrix_openai.py is, with the official Google GenAI client for Go.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"strings"

	"google.golang.org/genai"

	"github.com/triarch-ai/triarch/test/clients/go/plan"
)

var ctx = context.Background()

type (
	obj = plan.Obj
	arr = plan.Arr
)

func main() {
	plan.Run(run, func(err error) *plan.Failed {
		var e genai.APIError
		if !errors.As(err, &e) {
			return nil
		}
		return &plan.Failed{Class: "genai.APIError", Status: e.Code, Message: e.Message, Kind: e.Status}
	})
}

func must(data string) []byte {
	b, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		panic(err)
	}
	return b
}

func args(p plan.Plan, c plan.Case) ([]*genai.Content, *genai.GenerateContentConfig) {
	user := genai.NewContentFromText("What is it?", genai.RoleUser)
	a := &genai.GenerateContentConfig{SystemInstruction: genai.NewContentFromText("Be brief.", genai.RoleUser), MaxOutputTokens: 4096}
	switch c.Scenario {
	case "reasoning", "tools":
		a.ThinkingConfig = &genai.ThinkingConfig{IncludeThoughts: true, ThinkingBudget: genai.Ptr[int32](2048)}
		if c.Scenario == "tools" {
			tool := &genai.Tool{}
			for _, n := range []string{"weather", "clock"} {
				tool.FunctionDeclarations = append(tool.FunctionDeclarations, &genai.FunctionDeclaration{Name: n, Description: n, ParametersJsonSchema: plan.City})
			}
			a.Tools = []*genai.Tool{tool}
		}
	case "media":
		user.Parts = append(user.Parts, genai.NewPartFromBytes(must(p.Media.PNG), "image/png"), genai.NewPartFromBytes(must(p.Media.PDF), "application/pdf"))
	case "url":
		user.Parts = append(user.Parts, genai.NewPartFromURI(p.Media.URL, "image/png"))
	case "schema":
		a.ResponseMIMEType, a.ResponseJsonSchema = "application/json", plan.Schema
	case "logprobs":
		a.ResponseLogprobs, a.Logprobs = true, genai.Ptr[int32](2)
	case "sequence":
		a.StopSequences = []string{"END"}
	}
	return []*genai.Content{user}, a
}

// answer are the parts of an answer with what stands at its end.
type answer struct {
	parts []*genai.Part
	stop  string
	usage *genai.GenerateContentResponseUsageMetadata
	probs *genai.LogprobsResult
}

func (a *answer) add(r *genai.GenerateContentResponse) {
	if r.UsageMetadata != nil {
		a.usage = r.UsageMetadata
	}
	if len(r.Candidates) == 0 {
		return
	}
	x := r.Candidates[0]
	if x.Content != nil {
		a.parts = append(a.parts, x.Content.Parts...)
	}
	if x.FinishReason != "" {
		a.stop = string(x.FinishReason)
	}
	if x.LogprobsResult != nil {
		a.probs = x.LogprobsResult
	}
}

func (a *answer) text() (text, thought string) {
	for _, p := range a.parts {
		if p.Thought {
			thought += p.Text
		} else {
			text += p.Text
		}
	}
	return text, thought
}

func ask(api *genai.Client, c plan.Case, contents []*genai.Content, config *genai.GenerateContentConfig) (*answer, error) {
	a := &answer{}
	if !c.Stream {
		r, err := api.Models.GenerateContent(ctx, c.Model, contents, config)
		if err == nil {
			a.add(r)
		}
		return a, err
	}
	for r, err := range api.Models.GenerateContentStream(ctx, c.Model, contents, config) {
		if err != nil {
			return nil, err
		}
		a.add(r)
	}
	return a, nil
}

func run(p plan.Plan, c plan.Case) (obj, error) {
	headers := http.Header{}
	for k, v := range c.Headers {
		headers.Set(k, v)
	}
	api, err := genai.NewClient(ctx, &genai.ClientConfig{APIKey: c.KeyOr(), Backend: genai.BackendGeminiAPI,
		HTTPOptions: genai.HTTPOptions{BaseURL: strings.TrimRight(os.Getenv("TRIARCH_URL"), "/"), Headers: headers}})
	if err != nil {
		return nil, err
	}
	if c.API == "embeddings" {
		return embed(api, c)
	}
	contents, config := args(p, c)
	a, err := ask(api, c, contents, config)
	if err != nil {
		return nil, err
	}
	text, thought := a.text()
	signed := false
	var calls arr
	var results []*genai.Part
	for _, x := range a.parts {
		signed = signed || len(x.ThoughtSignature) > 0
		f := x.FunctionCall
		if f == nil {
			continue
		}
		calls = append(calls, arr{f.Name, f.Args})
		back := &genai.FunctionResponse{ID: f.ID, Name: f.Name, Response: map[string]any{"output": plan.Results[f.Name]}}
		if f.Name == "weather" {
			back.Parts = []*genai.FunctionResponsePart{{InlineData: &genai.FunctionResponseBlob{MIMEType: "image/png", Data: must(p.Media.PNG)}}}
		}
		results = append(results, &genai.Part{FunctionResponse: back})
	}
	u := a.usage
	seen := obj{"text": text, "thought": thought, "signed": signed, "stop": a.stop, "calls": calls, "in": u.PromptTokenCount, "cached": u.CachedContentTokenCount,
		"out": u.CandidatesTokenCount + u.ThoughtsTokenCount, "reasoned": u.ThoughtsTokenCount}
	if c.Scenario == "logprobs" {
		var probs arr
		for i, x := range a.probs.ChosenCandidates {
			probs = append(probs, arr{x.Token, math.Round(float64(x.LogProbability)*1e6) / 1e6, len(a.probs.TopCandidates[i].Candidates)})
		}
		seen["probs"] = probs
	}
	if c.Scenario == "tools" {
		then, err := ask(api, c, append(contents, &genai.Content{Role: genai.RoleModel, Parts: a.parts}, &genai.Content{Role: genai.RoleUser, Parts: results}), config)
		if err != nil {
			return nil, fmt.Errorf("the second turn: %w", err)
		}
		seen["then"], _ = then.text()
	}
	return seen, nil
}

func embed(api *genai.Client, c plan.Case) (obj, error) {
	r, err := api.Models.EmbedContent(ctx, c.Model, []*genai.Content{genai.NewContentFromText("one", genai.RoleUser), genai.NewContentFromText("two", genai.RoleUser)}, nil)
	if err != nil {
		return nil, err
	}
	var list [][]float64
	for _, e := range r.Embeddings {
		var v []float64
		for _, x := range e.Values {
			v = append(v, math.Round(float64(x)*1000)/1000)
		}
		list = append(list, v)
	}
	text, err := json.Marshal(list)
	return obj{"text": string(text)}, err
}
