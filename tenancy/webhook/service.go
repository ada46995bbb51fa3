package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/outbound"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/internal/seal"
)

// Service keeps hooks and tells them. All fields are needed but those that say otherwise; it is safe for concurrent use.
type Service struct {
	Store Store
	Box   *seal.Box
	IDs   *id.Maker
	Now   func() time.Time
	Rand  io.Reader
	Log   *slog.Logger
	Spent func(ctx context.Context, scope, id string) int64 // micro-units that what a budget bounds has spent

	Every time.Duration // pause between looks at the budgets; 0 = 2 s

	once            sync.Once
	public, private http.RoundTripper
}

// Who asks: its organisation and project.
type Who struct {
	Org     string
	Project string
	Key     string

	Wide    bool // may see and make hooks of the whole organisation
	Private bool // may allow inner addresses
}

// Spec is a request for a hook.
type Spec struct {
	URL        string
	Thresholds []int // percent; empty: DefaultThresholds
	Wide       bool  // of the whole organisation
	Private    bool
}

// Add makes a hook and returns the secret that its requests are signed with, which is told only now.
func (s *Service) Add(ctx context.Context, who Who, spec Spec) (Hook, string, error) {
	h := Hook{ID: s.IDs.New("hook"), Org: who.Org, Project: who.Project, URL: spec.URL, Private: spec.Private, CreatedBy: who.Key,
		CreatedAt: s.Now().UTC().Truncate(time.Microsecond)}
	switch {
	case spec.Private && !who.Private:
		return h, "", fault.New(fault.Forbidden, "Inner addresses cannot be allowed with this key.", fault.Code("not_allowed"),
			fault.Field("allow_private"), fault.Fix("Ask whoever operates this installation: it takes the scope platform."))
	case spec.Wide && !who.Wide:
		return h, "", fault.New(fault.Forbidden, "A webhook of the whole organisation needs the scope organisation.", fault.Code("not_allowed"), fault.Field("organisation"))
	case spec.Wide:
		h.Project = ""
	}
	if _, err := outbound.CheckURL("url", spec.URL, spec.Private); err != nil {
		return h, "", err
	}
	var err error
	if h.Thresholds, err = checked(spec.Thresholds); err != nil {
		return h, "", err
	}
	random := make([]byte, 32)
	if _, err := io.ReadFull(s.Rand, random); err != nil {
		return h, "", fault.Wrap(err, "making a webhook's secret")
	}
	secret := "whsec_" + base64.RawURLEncoding.EncodeToString(random)
	if h.Sealed, err = s.Box.Seal(h.ID, []byte(secret)); err != nil {
		return h, "", err
	}
	return h, secret, s.Store.Add(ctx, h, MaxHooks)
}

// List lists the hooks that who may see, oldest first.
func (s *Service) List(ctx context.Context, who Who, p page.Page) ([]Hook, error) {
	return s.Store.List(ctx, who.Org, who.scope(), p)
}

// Remove deletes a hook; what it was not told yet is dropped.
func (s *Service) Remove(ctx context.Context, who Who, id string) error {
	return s.Store.Remove(ctx, who.Org, who.scope(), id)
}

func (w Who) scope() string {
	if w.Wide {
		return ""
	}
	return w.Project
}

// Test sends an event of type webhook.test at once, once, and says how that went.
func (s *Service) Test(ctx context.Context, who Who, id string) error {
	h, err := s.Store.Get(ctx, who.Org, who.scope(), id)
	if err != nil {
		return err
	}
	e := Event{ID: s.IDs.New("evt"), Hook: h.ID, CreatedAt: s.Now()}
	body, err := json.Marshal(message{ID: e.ID, Type: "webhook.test", CreatedAt: e.CreatedAt.UTC(), Organisation: h.Org})
	if err != nil {
		return err
	}
	e.Body = string(body)
	if err := s.send(ctx, Delivery{e, h}); err != nil {
		return fault.New(fault.Unavailable, "The webhook did not take the test: "+short(reasonOf(err))+".", fault.Code("webhook_failed"), fault.Cause(err))
	}
	return nil
}

// message is the body of an event.
type message struct {
	ID           string    `json:"id"`
	Type         string    `json:"type"`
	CreatedAt    time.Time `json:"created_at"`
	Organisation string    `json:"organisation"`
	Budget       *budget   `json:"budget,omitempty"`
}

type budget struct {
	Scope       string `json:"scope"`
	ID          string `json:"id"`
	LimitMicros int64  `json:"limit_micros"`
	SpentMicros int64  `json:"spent_micros"`
	Threshold   int    `json:"threshold_percent"`
}

// Watch compares what was spent with every budget that a hook is told of, and keeps an event for each whose spending came
// to a threshold. Of several at once it tells the highest.
func (s *Service) Watch(ctx context.Context) error {
	all, err := s.Store.Watched(ctx)
	if err != nil {
		return err
	}
	for _, w := range all {
		spent := s.Spent(ctx, w.Budget.Scope, w.Budget.ID)
		news := reached(w, spent)
		if len(news) == 0 {
			continue
		}
		e := Event{ID: s.IDs.New("evt"), Hook: w.Hook.ID, CreatedAt: s.Now().UTC().Truncate(time.Microsecond)}
		body, err := json.Marshal(message{ID: e.ID, Type: "budget.threshold", CreatedAt: e.CreatedAt, Organisation: w.Hook.Org,
			Budget: &budget{Scope: w.Budget.Scope, ID: w.Budget.ID, LimitMicros: w.Budget.LimitMicros, SpentMicros: spent, Threshold: news[len(news)-1]}})
		if err != nil {
			return err
		}
		e.Body = string(body)
		if _, err := s.Store.Warn(ctx, w, news, e); err != nil {
			return err
		}
	}
	return nil
}

const (
	firstPause  = 5 * time.Second
	longPause   = time.Hour
	giveUpAfter = 72 * time.Hour
	keepDone    = 30 * 24 * time.Hour
	sendTimeout = 15 * time.Second
	passEvents  = 64 // of one pass
	passHooks   = 8  // told at once
)

// Deliver sends what is due, hooks beside each other and the events of each in order until one does not arrive.
func (s *Service) Deliver(ctx context.Context) error {
	due, err := s.Store.Due(ctx, s.Now(), passEvents)
	if err != nil {
		return err
	}
	var order []string
	byHook := map[string][]Delivery{}
	for _, d := range due {
		if byHook[d.Hook] == nil {
			order = append(order, d.Hook)
		}
		byHook[d.Hook] = append(byHook[d.Hook], d)
	}
	var work sync.WaitGroup
	room, failures := make(chan struct{}, passHooks), make([]error, len(order))
	for i, h := range order {
		room <- struct{}{}
		work.Go(func() {
			defer func() { <-room }()
			for _, d := range byHook[h] {
				var arrived bool
				if arrived, failures[i] = s.attempt(ctx, d); !arrived || failures[i] != nil {
					return
				}
			}
		})
	}
	work.Wait()
	return errors.Join(failures...)
}

// attempt sends an event and notes how that went; the error is the database's.
func (s *Service) attempt(ctx context.Context, d Delivery) (bool, error) {
	err := s.send(ctx, d)
	if ctx.Err() != nil {
		return false, nil // as if it had not been tried
	}
	now := s.Now()
	if err == nil {
		return true, s.Store.Answered(ctx, d.Event, now)
	}
	next := now.Add(min(longPause, firstPause<<min(d.Attempts, 20)))
	if next.Sub(d.CreatedAt) > giveUpAfter {
		next = time.Time{}
		s.Log.Warn("webhook: an event is given up", slog.String("hook", d.Hook), slog.String("event", d.ID), slog.Any("error", err))
	}
	return false, s.Store.Failed(ctx, d.Event, now, next, short(reasonOf(err)))
}

// reasonOf is what of a failure its owner may read: not which inner addresses exist.
func reasonOf(err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		if f.Code == "private_address" {
			return "its address is not a public one"
		}
		return f.Message
	}
	return err.Error()
}

func (s *Service) send(ctx context.Context, d Delivery) error {
	secret, err := s.Box.Open(d.To.ID, d.To.Sealed)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.To.URL, bytes.NewReader([]byte(d.Body)))
	if err != nil {
		return err
	}
	at := s.Now().Unix()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "triarch-webhook")
	r.Header.Set(EventHeader, d.ID)
	r.Header.Set(TimeHeader, strconv.FormatInt(at, 10))
	r.Header.Set(SignatureHeader, Sign(secret, at, []byte(d.Body)))
	res, err := s.transport(d.To.Private).RoundTrip(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("it answers %d", res.StatusCode)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxBody)) // so that the connection can be used again
	return nil
}

func (s *Service) transport(private bool) http.RoundTripper {
	s.once.Do(func() {
		s.public = outbound.New(outbound.Options{Head: sendTimeout, Idle: 2})
		s.private = outbound.New(outbound.Options{Head: sendTimeout, Idle: 2, Private: true})
	})
	if private {
		return s.private
	}
	return s.public
}

// Loop watches and delivers until ctx ends.
func (s *Service) Loop(ctx context.Context) {
	every := s.Every
	if every <= 0 {
		every = 2 * time.Second
	}
	t := time.NewTicker(every)
	defer t.Stop()
	told := ""
	for n := 0; ; n++ {
		err := errors.Join(s.Watch(ctx), s.Deliver(ctx))
		if n%1800 == 0 {
			err = errors.Join(err, s.Store.Forget(ctx, s.Now().Add(-keepDone)))
		}
		if err != nil && ctx.Err() == nil && err.Error() != told {
			s.Log.Error("webhook: warnings could not all be told", slog.Any("error", err))
		}
		if told = ""; err != nil {
			told = err.Error()
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
