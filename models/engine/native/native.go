// Package native is the driver of the embedded engine: it renders how its worker is started, is the worker's body,
// and speaks to it.
//
// The worker tells running token totals in comments of its event streams, so no chunk is parsed and nothing needs to
// be added to a request.
package native

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/engine/upstream"
)

// Driver is the engine.Engine of the embedded engine. The zero value works.
type Driver struct {
	Client upstream.Client
}

var (
	_ engine.Engine   = (*Driver)(nil)
	_ engine.Counter  = (*Driver)(nil)
	_ engine.Reporter = (*Driver)(nil)
	_ engine.Worker   = (*Driver)(nil)
)

// Name is "native".
func (d *Driver) Name() string { return "native" }

// specFile is what Command writes into an attempt's folder and Work reads.
const specFile = "serve.json"

type spec struct {
	Protocol    int    `json:"protocol"`
	ModelDir    string `json:"model_dir"`
	ModelName   string `json:"model_name"`
	Threads     int    `json:"threads"`
	MaxContext  int    `json:"max_context"`
	MemoryBytes int64  `json:"memory_bytes"`
	Listen      string `json:"listen,omitempty"` // empty: 127.0.0.1
}

// Command renders `triarch worker serve ATTEMPT` with the spec in a file of the attempt.
func (d *Driver) Command(s engine.Spec) (job.Command, error) {
	if s.ModelDir == "" {
		return job.Command{}, fault.New(fault.Internal, "A replica needs a model folder.")
	}
	b, err := json.Marshal(spec{Protocol: engine.Protocol, ModelDir: s.ModelDir, ModelName: s.ModelName, Threads: s.Threads,
		MaxContext: s.MaxContext, MemoryBytes: s.MemoryBytes, Listen: s.Listen})
	if err != nil {
		return job.Command{}, fault.Wrap(err, "writing the replica's spec")
	}
	return job.Command{
		Argv:  []string{job.Self, "worker", "serve", job.AttemptDir},
		Files: map[string][]byte{specFile: b},
	}, nil
}

// Health asks the worker; nil once its model is loaded.
func (d *Driver) Health(ctx context.Context, to engine.Endpoint) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	status, _, err := d.small(ctx, &upstream.Request{Addr: to.Addr, Method: "GET", Path: "/health", Secret: to.Secret})
	if err == nil && status != 200 {
		err = fault.Newf(fault.Unavailable, "The replica answers %d to the health check.", status)
	}
	return err
}

// Count asks the worker for the exact number of prompt tokens. What the worker refuses is a fault of kind Invalid.
func (d *Driver) Count(ctx context.Context, to engine.Endpoint, _ string, body []byte) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	status, answer, err := d.small(ctx, &upstream.Request{Addr: to.Addr, Path: "/tokenize", Secret: to.Secret, Body: body})
	if err != nil {
		return 0, err
	}
	if status == 400 || status == 413 { // a word about the request
		text, field := gjson.GetBytes(answer, "error.message"), gjson.GetBytes(answer, "error.param")
		return 0, fault.New(fault.Invalid, text.String(), fault.Field(field.String()), fault.Code(gjson.GetBytes(answer, "error.code").String()))
	}
	count := gjson.GetBytes(answer, "count")
	if status != 200 || count.Type != gjson.Number || count.Int() < 0 {
		return 0, fault.Newf(fault.Unavailable, "The replica did not count the prompt's tokens (status %d).", status)
	}
	return int(count.Int()), nil
}

// Load asks the worker how many sequences run and wait. A worker of before it told them has nothing to say.
func (d *Driver) Load(ctx context.Context, to engine.Endpoint) (engine.Load, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	status, answer, err := d.small(ctx, &upstream.Request{Addr: to.Addr, Method: "GET", Path: "/status", Secret: to.Secret})
	if err != nil || status != 200 {
		return engine.Load{}, err
	}
	count := func(name string) int { return int(min(max(gjson.GetBytes(answer, name).Int(), 0), maxSequences)) }
	return engine.Load{Slots: count("slots"), Running: count("running"), Waiting: count("waiting")}, nil
}

// Work asks the worker what it has done. A worker of before it told has nothing to say.
func (d *Driver) Work(ctx context.Context, to engine.Endpoint) (engine.Work, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	status, answer, err := d.small(ctx, &upstream.Request{Addr: to.Addr, Method: "GET", Path: "/status", Secret: to.Secret})
	if err != nil || status != 200 {
		return engine.Work{}, err
	}
	spent := func(of string) engine.Spent {
		n := func(name string) uint64 { return gjson.GetBytes(answer, of+"."+name).Uint() }
		return engine.Spent{Nanos: n("nanos"), Steps: n("steps"), Rows: n("rows"), Seen: n("seen")}
	}
	return engine.Work{Decode: spent("decode"), Prefill: spent("prefill")}, nil
}

// maxSequences bounds what is believed of a worker's counts.
const maxSequences = 1 << 20

// small makes a request whose answer is short.
func (d *Driver) small(ctx context.Context, q *upstream.Request) (int, []byte, error) {
	r, err := d.Client.Do(ctx, q)
	if err != nil {
		return 0, nil, err
	}
	defer r.Close()
	var body []byte
	for {
		b, err := r.Chunk()
		body = append(body, b...)
		if err == io.EOF {
			return r.Status, body, nil
		}
		if err == nil && len(body) > 1<<20 {
			err = errors.New("the answer is too long")
		}
		if err != nil {
			return 0, nil, fault.New(fault.Unavailable, "The replica broke off its answer.", fault.Cause(err))
		}
	}
}

// Open sends the caller's bytes as they are.
func (d *Driver) Open(ctx context.Context, to engine.Endpoint, q engine.Request) (engine.Stream, error) {
	r, err := d.Client.Do(ctx, &upstream.Request{Addr: to.Addr, Path: q.Path, Secret: to.Secret, RequestID: q.RequestID, Trace: q.Trace, TraceState: q.TraceState,
		Scope: q.Scope, Body: q.Body})
	if err != nil {
		return nil, err
	}
	if r.Status == 200 && r.Stream {
		return &events{whole{r}, upstream.Events{R: r}}, nil
	}
	return &whole{r}, nil
}

// whole is an answer that is no event stream; its counts are in its own usage object.
type whole struct{ r *upstream.Response }

func (w *whole) Status() int               { return w.r.Status }
func (w *whole) Header(name string) string { return w.r.Header(name) }
func (w *whole) Close() error              { return w.r.Close() }

func (w *whole) Next() (engine.Chunk, error) {
	b, err := w.r.Chunk()
	return engine.Chunk{Data: b}, err
}

// events is an event stream with counts.
type events struct {
	whole
	ev upstream.Events
}

func (e *events) Close() error {
	e.ev.Release()
	return e.whole.Close()
}

func (e *events) Next() (engine.Chunk, error) {
	b, err := e.ev.Next()
	return engine.Chunk{Data: b, Prompt: e.ev.Prompt, Completion: e.ev.Completion, Cached: e.ev.Cached, Reasoning: e.ev.Reasoning, Done: e.ev.Done}, err
}
