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
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/api"
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
from a pipe. When the conversation outgrows the model's context, its oldest turns are forgotten. A question that
fails is told and left out; the conversation goes on, and ends with the exit code of the last failure.

With -o json, each answer is one JSON object: model, content, usage, finish_reason.

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
	if t.prompts() {
		t.Printf("%s  (/new starts over, /quit or Ctrl-D ends)\n", t.model)
	}
	return t.converse(ctx)
}

// talker is one conversation.
type talker struct {
	*app
	o        *chatOptions
	base     string
	secret   string
	http     *http.Client
	model    string
	messages []chatMessage
}

func (a *app) talker(o *chatOptions) (*talker, error) {
	c, err := a.client() // the same sentences when there is no server or no key
	if err != nil {
		return nil, err
	}
	return &talker{app: a, o: o, base: c.URL(), http: api.NewHTTP(a.pin(c.URL())),
		secret: first(a.key, os.Getenv("TRIARCH_KEY"), a.file("owner.key"))}, nil
}

// prompts says whether a person is led through the conversation.
func (t *talker) prompts() bool { return t.Terminal && !t.JSON }

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

// converse asks what is typed, line by line, until the input ends. What goes wrong with one question is told and does
// not end the conversation; the last such failure is its exit code.
func (t *talker) converse(ctx context.Context) error {
	input := make(chan typed)
	go readLines(t.In, input)
	asked, failed := 0, []error(nil)
	for {
		if t.prompts() {
			fmt.Fprint(t.Out, "\n> ")
		}
		var in typed
		select {
		case <-ctx.Done():
			return nil
		case in = <-input:
		}
		line := strings.TrimSpace(in.line)
		switch {
		case errors.Is(in.err, io.EOF) || line == "/quit" || line == "/exit":
			return t.unanswered(asked, failed)
		case in.err != nil && !errors.Is(in.err, errLongLine):
			return fault.Wrap(in.err, "reading the questions")
		case in.err == nil && line == "":
			continue
		case line == "/new":
			t.reset()
			continue
		}
		asked++
		err := in.err
		if err == nil {
			err = t.ask(ctx, line)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			report(t.Screen, err)
			failed = append(failed, err)
		}
	}
}

// unanswered ends a conversation: a person saw what failed, a script gets an exit code.
func (t *talker) unanswered(asked int, failed []error) error {
	if len(failed) == 0 || t.prompts() {
		return nil
	}
	last := fault.As(failed[len(failed)-1])
	return fault.New(last.Kind, fmt.Sprintf("%d of %d questions were not answered.", len(failed), asked), fault.Code(last.Code))
}

// typed is one line of input, or why there is none.
type typed struct {
	line string
	err  error
}

// maxLine bounds a question: the model API takes no longer ones.
const maxLine = 4 << 20

var errLongLine = fault.New(fault.TooLarge, "A question is longer than 4 MiB.")

// readLines sends each line of in, and at its end or failure the error. A line that is too long is read to its end and
// sent as errLongLine.
func readLines(in io.Reader, to chan<- typed) {
	r := bufio.NewReader(in)
	var line []byte
	for long := false; ; {
		part, err := r.ReadSlice('\n')
		if long = long || len(line)+len(part) > maxLine; !long {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case long:
			to <- typed{err: errLongLine}
		case err == nil || len(line) > 0:
			to <- typed{line: string(line)}
		}
		if err != nil {
			to <- typed{err: err}
			return
		}
		line, long = line[:0], false
	}
}

// ask puts one question and prints the answer as it comes; a conversation too long for the context loses its
// oldest turns until it fits. A question without a whole answer is left out of what is sent with the next one.
func (t *talker) ask(ctx context.Context, question string) error {
	t.messages = append(t.messages, chatMessage{"user", question})
	for {
		answer, err := t.answer(ctx)
		if err == nil {
			t.messages = append(t.messages, chatMessage{"assistant", answer})
			return nil
		}
		if fault.As(err).Code != "context_length_exceeded" || !t.forget() {
			t.messages = t.messages[:len(t.messages)-1]
			return err
		}
	}
}

// answer gets and prints the answer to the conversation.
func (t *talker) answer(ctx context.Context) (string, error) {
	if t.JSON {
		return t.whole(ctx)
	}
	return t.stream(ctx)
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

// request is the body that asks for an answer to the conversation.
func (t *talker) request(stream bool) map[string]any {
	req := map[string]any{"model": t.model, "messages": t.messages, "stream": stream}
	if t.o.temperature >= 0 {
		req["temperature"] = t.o.temperature
	}
	if t.o.maxTokens > 0 {
		req["max_tokens"] = t.o.maxTokens
	}
	if t.o.seed >= 0 {
		req["seed"] = t.o.seed
	}
	return req
}

// chatAnswer is an answer as -o json prints it.
type chatAnswer struct {
	Model        string          `json:"model"`
	Content      string          `json:"content"`
	Usage        json.RawMessage `json:"usage"` // as the model API gives it
	FinishReason string          `json:"finish_reason"`
}

// maxAnswer bounds an answer that is held in memory.
const maxAnswer = 64 << 20

// whole sends the conversation and prints the answer as JSON.
func (t *talker) whole(ctx context.Context) (string, error) {
	body, err := t.call(ctx, http.MethodPost, "/v1/chat/completions", t.request(false))
	if err != nil {
		return "", err
	}
	defer body.Close()
	var reply struct {
		Model   string          `json:"model"`
		Usage   json.RawMessage `json:"usage"`
		Choices []struct {
			Message      chatMessage `json:"message"`
			FinishReason string      `json:"finish_reason"`
		} `json:"choices"`
	}
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(&reply); err != nil {
		return "", fault.Wrap(err, "reading the answer")
	}
	if len(reply.Choices) == 0 {
		return "", fault.New(fault.Unavailable, "The model API answered nothing.")
	}
	c := reply.Choices[0]
	return c.Message.Content, t.Value(chatAnswer{Model: reply.Model, Content: c.Message.Content, Usage: reply.Usage, FinishReason: c.FinishReason}, nil)
}

// stream sends the conversation, prints the answer as it comes and returns all of it.
func (t *talker) stream(ctx context.Context) (string, error) {
	body, err := t.call(ctx, http.MethodPost, "/v1/chat/completions", t.request(true))
	if err != nil {
		return "", err
	}
	defer body.Close()
	var answer strings.Builder
	events, done := bufio.NewScanner(body), false
	events.Buffer(nil, 4<<20)
	for events.Scan() {
		data, ok := bytes.CutPrefix(events.Bytes(), []byte("data: "))
		if done = done || string(data) == "[DONE]"; !ok || done {
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
	if err := events.Err(); err != nil || !done {
		return answer.String(), fault.New(fault.Unavailable, "The answer broke off.", fault.Fix("Ask again"), fault.Cause(err))
	}
	return answer.String(), nil
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

func (e *openaiError) fault(status int) *fault.Error {
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
	res, err := t.http.Do(req)
	if errors.Is(err, context.Canceled) {
		return nil, err
	}
	if err != nil {
		return nil, t.reachable(api.Unreachable(t.base, err))
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
	f := e.Error.fault(res.StatusCode)
	if wait, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && wait > 0 && f.Fix == "" {
		f.Fix = fmt.Sprintf("Try again in %d s", wait)
	}
	return nil, f
}
