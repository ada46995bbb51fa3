package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/train"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// RunPath names a run.
type RunPath struct {
	Run string `path:"run" maxLength:"64"`
}

func (s *Server) runOps() {
	op(s, "list-runs", "runs", "List training runs, newest first", func(ctx context.Context, p *auth.Principal, in *PageParam) (*out[api.List[api.Run]], error) {
		return paged(runList, *in, run, func(q page.Page) ([]train.Run, error) { return s.Train.List(ctx, p.ProjectID, q) })
	})
	op(s, "create-run", "runs", "Train a model", func(ctx context.Context, p *auth.Principal, in *struct{ Body api.NewRun }) (*out[api.Run], error) {
		r, err := s.plan(ctx, p, in.Body, s.Train.Submit)
		return &out[api.Run]{r}, err
	}, status(http.StatusCreated))
	op(s, "estimate-run", "runs", "Say what a run would take, and check it, without starting it", func(ctx context.Context, p *auth.Principal, in *struct{ Body api.NewRun }) (*out[api.Run], error) {
		r, err := s.plan(ctx, p, in.Body, s.Train.Estimate)
		return &out[api.Run]{r}, err
	})
	op(s, "get-run", "runs", "Show a run", func(ctx context.Context, p *auth.Principal, in *RunPath) (*out[api.Run], error) {
		r, err := s.run(ctx, p, in.Run)
		return &out[api.Run]{r}, err
	})
	op(s, "stop-run", "runs", "Stop a run; what it learnt is not registered", func(ctx context.Context, p *auth.Principal, in *RunPath) (*out[api.Run], error) {
		r, err := s.Train.Stop(ctx, p.ProjectID, in.Run)
		return &out[api.Run]{run(r)}, err
	})
	op(s, "read-run-logs", "runs", "Read the output of a run", func(ctx context.Context, p *auth.Principal, in *struct {
		RunPath
		LogsParam
	}) (*out[api.Logs], error) {
		l, err := s.Train.Logs(ctx, p.ProjectID, in.Run, in.Attempt, in.Offset, in.Limit)
		return logs(l, err)
	})
	op(s, "watch-run", "runs", "Follow the progress of a run as server-sent events", s.watchRun, gives("text/event-stream"))
}

type planner func(context.Context, train.Who, train.Spec) (train.Run, error)

func (s *Server) plan(ctx context.Context, p *auth.Principal, n api.NewRun, f planner) (api.Run, error) {
	recipe, err := recode[train.Recipe](n.Recipe)
	if err != nil {
		return api.Run{}, err
	}
	wants, err := s.ask(ctx, p.ProjectID, n.Placing)
	if err != nil {
		return api.Run{}, err
	}
	r, err := f(ctx, train.Who{Project: p.ProjectID, Key: p.KeyID, Machine: may(p, tenancy.Platform)}, train.Spec{Name: n.Name, Model: n.Model, Data: n.Data, Base: n.Base,
		Trainer: n.Trainer, Recipe: recipe, CPUs: n.CPUs, Priority: n.Priority, Ask: wants, Array: n.Array, Force: n.Force})
	return run(r), err
}

// recode turns a wire type into the domain's of the same JSON form, or back; a test holds the two together.
func recode[T any](v any) (T, error) {
	var t T
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	return t, fault.Wrap(err, "translating a request")
}

// run shows a run with what its job knows.
func (s *Server) run(ctx context.Context, p *auth.Principal, name string) (api.Run, error) {
	r, err := s.Train.Get(ctx, p.ProjectID, name)
	if err != nil {
		return api.Run{}, err
	}
	a := run(r)
	if r.JobID == "" {
		return a, nil
	}
	j, err := s.Jobs.Get(ctx, p.ProjectID, r.JobID)
	if fault.Is(err, fault.NotFound) { // old jobs are swept away, their runs stay
		return a, nil
	}
	a.Attempt, a.Restarts, a.Limits = j.Attempt, j.Restarts, j.Limits
	if a.Reason == "" && train.Shows(r, j) { // or a run that runs would have the reason of one that waits
		a.Reason = j.Reason
	}
	return a, err
}

// LogsParam says which piece of an output.
type LogsParam struct {
	Attempt int   `query:"attempt" minimum:"0" doc:"0: the newest"`
	Offset  int64 `query:"offset" minimum:"0" doc:"byte to begin at"`
	Limit   int   `query:"limit" minimum:"0" maximum:"1048576" doc:"most bytes; 0: the server decides"`
}

func logs(l job.LogChunk, err error) (*out[api.Logs], error) {
	if l.Data == nil {
		l.Data = []byte{}
	}
	return &out[api.Logs]{api.Logs{Offset: l.Offset, Next: l.Next, End: l.End, Ended: l.Ended, Data: l.Data}}, err
}

type watchIn struct {
	RunPath
	From string `query:"from" maxLength:"64" doc:"where to go on: the id of the last event seen"`
	Last string `header:"Last-Event-ID" maxLength:"64" doc:"the same, as browsers send it"`
}

const (
	watchPiece = 64 << 10         // bytes of progress read at once
	heartbeat  = 15 * time.Second // a comment after so much silence keeps proxies from closing the stream
)

// watchRun sends an event "progress" for each line, its id being the place to go on from, and at last an event "end"
// with the run.
func (s *Server) watchRun(ctx context.Context, p *auth.Principal, in *watchIn) (*huma.StreamResponse, error) {
	if in.From == "" {
		in.From = in.Last
	}
	at, err := job.ParseCursor(in.From)
	if err != nil {
		return nil, fault.New(fault.Invalid, "The place to go on from looks like 2:1024.", fault.Field("from"), fault.Cause(err))
	}
	if _, err := s.Train.Get(ctx, p.ProjectID, in.Run); err != nil {
		return nil, err
	}
	x := exchangeOf(ctx)
	return &huma.StreamResponse{Body: func(huma.Context) {
		x.w.Header().Set("Content-Type", "text/event-stream")
		x.w.WriteHeader(http.StatusOK)
		if err := s.stream(ctx, newPaced(x.w), p, in.Run, at); err != nil && ctx.Err() == nil {
			s.Log.Warn("watching a run broke off", "id", requestID(ctx), "error", err)
		}
	}}, nil
}

func (s *Server) stream(ctx context.Context, w *paced, p *auth.Principal, name string, at job.Cursor) error {
	tick := time.NewTicker(s.Poll)
	defer tick.Stop()
	if err := w.flush(); err != nil {
		return err
	}
	spoke := s.Now()
	for {
		lines, next, done, err := s.Train.Watch(ctx, p.ProjectID, name, at, watchPiece)
		if err != nil {
			return err
		}
		if err := sendLines(w, lines, next); err != nil {
			return err
		}
		more := next != at
		at = next
		switch {
		case done:
			return s.sendEnd(ctx, w, p, name)
		case len(lines) > 0:
			spoke = s.Now()
		case s.Now().Sub(spoke) > heartbeat:
			spoke = s.Now()
			if _, err := w.Write([]byte(": still here\n\n")); err != nil {
				return err
			}
		}
		if err := w.flush(); err != nil {
			return err
		}
		if more {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-closing(ctx): // without an end the client knows to come again
			return nil
		case <-tick.C:
		}
	}
}

// sendLines writes the lines as events. The place to go on from stands at the last one: a client that loses the
// stream in between gets the piece again.
func sendLines(w *paced, lines []job.Line, next job.Cursor) error {
	for i, l := range lines {
		b, err := json.Marshal(api.ProgressLine{Attempt: l.Attempt, Step: l.Step, Data: l.Data})
		if err != nil {
			return err
		}
		mark := ""
		if i == len(lines)-1 {
			mark = "id: " + next.String() + "\n"
		}
		if _, err := fmt.Fprintf(w, "event: progress\n%sdata: %s\n\n", mark, b); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) sendEnd(ctx context.Context, w *paced, p *auth.Principal, name string) error {
	r, err := s.run(ctx, p, name)
	if err != nil {
		return err
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "event: end\ndata: %s\n\n", b); err != nil {
		return err
	}
	return w.flush()
}

func run(r train.Run) api.Run {
	recipe, err := recode[api.Recipe](r.Recipe)
	if err != nil {
		panic(err) // both are plain structs of numbers and words
	}
	return api.Run{ID: r.ID, Name: r.Name, Model: r.Model, Trainer: r.Trainer, DataVersion: r.DataVersion, Base: r.Base, Recipe: recipe,
		CPUs: r.CPUs, Priority: r.Priority, Placing: placingView(r.Ask), Array: memberView(r.Ask.Member), JobID: r.JobID, State: string(r.State), Reason: r.Reason, Fault: r.Fault, Forced: r.Forced,
		Estimate: api.Estimate{Params: r.Estimate.Params, MemoryBytes: r.Estimate.MemoryBytes, DiskBytes: r.Estimate.DiskBytes,
			Tokens: r.Estimate.Tokens, Steps: r.Estimate.Steps, TokensPerSecond: r.Estimate.TokensPerSecond, Seconds: r.Estimate.Duration.Seconds()},
		Progress: api.Progress(r.Progress), Metrics: r.Metrics, ModelVersion: r.ModelVersion,
		CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt, StartedAt: timeOrNil(r.StartedAt), EndedAt: timeOrNil(r.EndedAt)}
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
