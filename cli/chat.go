package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/internal/fault"
)

// chatOptions are the flags of chat.
type chatOptions struct {
	system      string
	temperature float64
	maxTokens   int
	seed        int64
	message     string
}

// chatMessage is one turn.
type chatMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

func (a *app) chatCommand() *cobra.Command {
	o := &chatOptions{temperature: -1, seed: -1}
	c := &cobra.Command{
		Use: "chat [MODEL]", Short: "Talk to a model; its name is a route's, by default the only or the starter's", Args: cobra.MaximumNArgs(1),
		Long: `Talks to a model through the model API, streaming. Without -m it reads questions from the terminal, or one a line
from a pipe. When the conversation outgrows the model's context, its oldest turns are forgotten.

In a conversation: /new starts over, /quit ends.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			model := ""
			if len(args) > 0 {
				model = args[0]
			}
			return a.chat(cmd.Context(), o, model)
		},
	}
	f := c.Flags()
	f.StringVar(&o.system, "system", "", "system message")
	f.Float64Var(&o.temperature, "temperature", -1, "sampling temperature, 0 to 2 (default: the API's)")
	f.IntVar(&o.maxTokens, "max-tokens", 0, "longest answer (default: what the context leaves)")
	f.Int64Var(&o.seed, "seed", -1, "seed of the sampling")
	f.StringVarP(&o.message, "message", "m", "", "ask this one question and end")
	return c
}

func (a *app) chat(ctx context.Context, o *chatOptions, model string) error {
	t, err := a.talker(o)
	if err != nil {
		return err
	}
	if t.model, err = t.choose(ctx, model); err != nil {
		return err
	}
	t.reset()
	if o.message != "" {
		return t.ask(ctx, o.message)
	}
	if a.Terminal {
		a.Printf("%s  (/new starts over, /quit or Ctrl-D ends)\n", t.model)
	}
	return t.converse(ctx)
}

// talker is one conversation.
type talker struct {
	*app
	o        *chatOptions
	base     string
	secret   string
	model    string
	messages []chatMessage
}

func (a *app) talker(o *chatOptions) (*talker, error) {
	if _, err := a.client(); err != nil { // the same sentences when there is no server or no key
		return nil, err
	}
	return &talker{app: a, o: o, base: strings.TrimRight(first(a.url, os.Getenv("TRIARCH_URL"), a.file("endpoint")), "/"),
		secret: first(a.key, os.Getenv("TRIARCH_KEY"), a.file("owner.key"))}, nil
}

// choose is the model asked for, or the one that is there.
func (t *talker) choose(ctx context.Context, model string) (string, error) {
	if model != "" {
		return model, nil
	}
	body, err := t.call(ctx, http.MethodGet, "/v1/models", nil)
	if err != nil {
		return "", err
	}
	defer body.Close()
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := json.NewDecoder(body).Decode(&list); err != nil {
		return "", fault.Wrap(err, "reading the list of models")
	}
	var names []string
	for _, m := range list.Data {
		if m.ID == "starter" || len(list.Data) == 1 {
			return m.ID, nil
		}
		names = append(names, m.ID)
	}
	if len(names) == 0 {
		return "", fault.New(fault.NotFound, "No model answers at the moment.", fault.Fix("See `%s`", t.command("status")))
	}
	return "", fault.New(fault.Invalid, "Several models answer.", fault.Field("MODEL"), fault.Fix("Name one of: %s", strings.Join(names, ", ")))
}

func (t *talker) reset() {
	t.messages = nil
	if t.o.system != "" {
		t.messages = append(t.messages, chatMessage{"system", t.o.system})
	}
}

// converse asks what is typed, line by line, until the input ends.
func (t *talker) converse(ctx context.Context) error {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(t.In); in.Scan(); {
			lines <- in.Text()
		}
	}()
	for {
		if t.Terminal {
			fmt.Fprint(t.Out, "\n> ")
		}
		select {
		case <-ctx.Done():
			return nil
		case line, ok := <-lines:
			switch line = strings.TrimSpace(line); {
			case !ok || line == "/quit" || line == "/exit":
				return nil
			case line == "":
			case line == "/new":
				t.reset()
			default:
				if err := t.ask(ctx, line); err != nil {
					if ctx.Err() != nil {
						return nil
					}
					return err
				}
			}
		}
	}
}

// ask puts one question and prints the answer as it comes; a conversation too long for the context loses its
// oldest turns until it fits.
func (t *talker) ask(ctx context.Context, question string) error {
	t.messages = append(t.messages, chatMessage{"user", question})
	for {
		answer, err := t.stream(ctx)
		if err == nil {
			t.messages = append(t.messages, chatMessage{"assistant", answer})
			return nil
		}
		if fault.As(err).Code != "context_length_exceeded" || !t.forget() {
			return err
		}
	}
}

// forget drops the oldest question and answer; false when only the newest question is left.
func (t *talker) forget() bool {
	from := 0
	if len(t.messages) > 0 && t.messages[0].Role == "system" {
		from = 1
	}
	if len(t.messages)-from < 3 {
		return false
	}
	t.messages = append(t.messages[:from:from], t.messages[from+2:]...)
	return true
}

// stream sends the conversation and returns the whole answer.
func (t *talker) stream(ctx context.Context) (string, error) {
	req := map[string]any{"model": t.model, "messages": t.messages, "stream": true}
	if t.o.temperature >= 0 {
		req["temperature"] = t.o.temperature
	}
	if t.o.maxTokens > 0 {
		req["max_tokens"] = t.o.maxTokens
	}
	if t.o.seed >= 0 {
		req["seed"] = t.o.seed
	}
	body, err := t.call(ctx, http.MethodPost, "/v1/chat/completions", req)
	if err != nil {
		return "", err
	}
	defer body.Close()
	var answer strings.Builder
	events := bufio.NewScanner(body)
	events.Buffer(nil, 4<<20)
	for events.Scan() {
		data, ok := bytes.CutPrefix(events.Bytes(), []byte("data: "))
		if !ok || string(data) == "[DONE]" {
			continue
		}
		text, err := chunkText(data)
		if err != nil {
			fmt.Fprintln(t.Out)
			return answer.String(), err
		}
		answer.WriteString(text)
		fmt.Fprint(t.Out, text)
	}
	fmt.Fprintln(t.Out)
	return answer.String(), fault.Wrap(events.Err(), "reading the answer")
}

// chunkText is the text of one event; an error event becomes the fault it tells of.
func chunkText(data []byte) (string, error) {
	var chunk struct {
		Choices []struct {
			Delta chatMessage `json:"delta"`
		} `json:"choices"`
		Error *openaiError `json:"error"`
	}
	if err := json.Unmarshal(data, &chunk); err != nil {
		return "", fault.Wrap(err, "reading the answer")
	}
	if chunk.Error != nil {
		return "", chunk.Error.fault(http.StatusInternalServerError)
	}
	if len(chunk.Choices) == 0 {
		return "", nil
	}
	return chunk.Choices[0].Delta.Content, nil
}

// openaiError is the error body of the model API.
type openaiError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Code    *string `json:"code"`
	Param   *string `json:"param"`
}

func (e *openaiError) fault(status int) error {
	kind := map[int]fault.Kind{400: fault.Invalid, 401: fault.Unauthenticated, 403: fault.Forbidden, 404: fault.NotFound, 413: fault.TooLarge,
		429: fault.RateLimited, 503: fault.Unavailable, 504: fault.Timeout}[status]
	if kind == "" {
		kind = fault.Internal
	}
	f := fault.New(kind, e.Message)
	if e.Code != nil {
		f.Code = *e.Code
	}
	if f.Code == string(fault.NoMoney) {
		f.Kind = fault.NoMoney
	}
	if e.Param != nil {
		f.Field = *e.Param
	}
	return f
}

// call makes one request of the model API; any status but 200 is a fault.
func (t *talker) call(ctx context.Context, method, path string, body any) (io.ReadCloser, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fault.Wrap(err, "writing the request")
	}
	req, err := http.NewRequestWithContext(ctx, method, t.base+path, bytes.NewReader(text))
	if err != nil {
		return nil, fault.New(fault.Invalid, "The address "+t.base+" is not a URL.", fault.Field("url"), fault.Cause(err))
	}
	req.Header.Set("Authorization", "Bearer "+t.secret)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if errors.Is(err, context.Canceled) {
		return nil, err
	}
	if err != nil {
		return nil, fault.New(fault.Unavailable, "Triarch does not answer at "+t.base+".", fault.Fix("Start it with `%s`", t.command("up")), fault.Cause(err))
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	var e struct {
		Error openaiError `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&e); err != nil || e.Error.Message == "" {
		e.Error.Message = "The model API answered " + res.Status + "."
	}
	return nil, e.Error.fault(res.StatusCode)
}
