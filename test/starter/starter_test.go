// Package starter_test asks the starter model, made as `up` makes it, through the model API: what it was taught in
// phrasings it has not seen, and what it was not taught.
package starter_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/models/data"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/models/starter"
	"github.com/triarch-ai/triarch/models/train"
	"github.com/triarch-ai/triarch/system"
)

// The test binary stands in for the program when supervisors and workers start it.
func TestMain(m *testing.M) {
	if handled, code := system.Inner(os.Args[1:]); handled {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// rig is a running system with the words that starters are taught.
type rig struct {
	*system.System
	terms []starter.Term
}

func TestStarter(t *testing.T) {
	if testing.Short() {
		t.Fatal("the starter is trained here; it takes minutes and is not left out") // a skip would hide it
	}
	r := newRig(t)
	t.Run("taught words in unseen phrasings", func(t *testing.T) { r.taught(t, "starter", true) })
	t.Run("foreign questions", func(t *testing.T) { r.foreign(t, "starter") })
	t.Run("first questions", func(t *testing.T) { r.first(t, "starter") })
	t.Run("untrained weights know nothing", r.untrained)
	t.Run("a word left out is not known", r.leftOut)
}

// TestSmallerSizes judges what `up` makes on slower machines by the same measure: the smallest size always, the others
// when TRIARCH_STARTER_SIZES names them by their place in starter.Sizes, as in "1,2".
func TestSmallerSizes(t *testing.T) {
	sizes := starter.Sizes()
	places := []string{strconv.Itoa(len(sizes) - 1)}
	if named := os.Getenv("TRIARCH_STARTER_SIZES"); named != "" {
		places = strings.Split(named, ",")
	}
	r := newSystem(t)
	for _, place := range places {
		n, err := strconv.Atoi(place)
		if err != nil || n < 0 || n >= len(sizes) {
			t.Fatalf("there is no size %q, only 0 to %d", place, len(sizes)-1)
		}
		t.Run("size "+place, func(t *testing.T) {
			began := time.Now()
			name := "size" + place
			r.train(t, name, starter.DefaultMix(), sizes[n])
			t.Logf("made in %s", time.Since(began).Round(time.Second))
			r.taught(t, name, false)
			r.foreign(t, name)
			r.first(t, name)
		})
	}
}

// newRig is a system that has made its starter.
func newRig(t *testing.T) *rig {
	r := newSystem(t)
	began := time.Now()
	// However busy this machine is, what is judged is the size that two idle cores make.
	if err := r.MakeStarter(t.Context(), time.Hour, func(starter.Progress) {}); err != nil {
		t.Fatal(err)
	}
	t.Logf("the starter was made in %s", time.Since(began).Round(time.Second))
	return r
}

// newSystem is a system without models.
func newSystem(t *testing.T) *rig {
	cfg := system.DefaultConfig()
	cfg.Data, cfg.Listen = t.TempDir(), "127.0.0.1:0"
	s, err := system.Start(t.Context(), cfg, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if _, err := system.Down(context.Background(), cfg.Data, time.Second, s.Log); err != nil {
			t.Error(err)
		}
	})
	terms, err := starter.Terms()
	if err != nil {
		t.Fatal(err)
	}
	return &rig{s, terms}
}

// question is one held-out phrasing of one word, in one of the settings it is asked in.
type question struct {
	term     starter.Term
	messages []message
}

// questions puts every held-out phrasing to every word of its language, in turn alone, behind a system message and
// as third turn.
func (r *rig) questions(t *testing.T) (out []question) {
	for i, h := range lines(t, "heldout.txt") {
		for j, term := range r.of(h[0]) {
			q := message{"user", strings.ReplaceAll(h[1], "{w}", term.Word)}
			var before []message
			switch (i + j) % 3 {
			case 1:
				before = []message{{"system", "You are a careful assistant of this company."}}
			case 2:
				one, two := r.of(h[0])[(j+7)%40], r.of(h[0])[(j+19)%40]
				before = []message{{"user", "What is " + one.Word + "?"}, {"assistant", one.Meaning}, {"user", "Define " + two.Word}, {"assistant", two.Meaning}}
			}
			out = append(out, question{term, append(before, q)})
		}
	}
	return out
}

func (r *rig) of(lang string) (out []starter.Term) {
	for _, t := range r.terms {
		if t.Lang == lang {
			out = append(out, t)
		}
	}
	return out
}

// taught: at least 90 % of each language are right, and in each setting where that is asked for, at the API's defaults.
func (r *rig) taught(t *testing.T, model string, bySetting bool) {
	qs := r.questions(t)
	answers := r.askAll(t, model, qs)
	right, all := map[string]int{}, map[string]int{}
	for i, q := range qs {
		setting := []string{"alone", "system", "third turn"}[min(2, len(q.messages)-1)]
		for _, k := range []string{q.term.Lang, q.term.Lang + ", " + setting} {
			all[k]++
			if starter.Right(answers[i], q.term, r.terms) {
				right[k]++
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		share := 100 * float64(right[k]) / float64(all[k])
		t.Logf("%s: %d of %d right, %.1f %%", k, right[k], all[k], share)
		if share < 90 && (bySetting || !strings.Contains(k, ",")) {
			t.Errorf("%s: %.1f %% right, below 90 %%", k, share)
		}
	}
}

// foreign: at least 16 of 20 questions about other things get "I do not know".
func (r *rig) foreign(t *testing.T, model string) {
	var qs []question
	list := lines(t, "foreign.txt")
	for _, l := range list {
		qs = append(qs, question{starter.Term{Lang: l[0]}, []message{{"user", l[1]}}})
	}
	unknown := 0
	for i, answer := range r.askAll(t, model, qs) {
		if answer == starter.Unknown[qs[i].term.Lang] {
			unknown++
		} else {
			t.Logf("%s -> %s", qs[i].messages[0].Content, answer)
		}
	}
	t.Logf("%d of %d are not known", unknown, len(list))
	if len(list) < 20 || unknown*20 < 16*len(list) {
		t.Errorf("only %d of %d foreign questions got the answer that it does not know", unknown, len(list))
	}
}

// first: what people type first is answered, all but one at most.
func (r *rig) first(t *testing.T, model string) {
	var qs []question
	for _, l := range lines(t, "first.txt") {
		want, asked, _ := strings.Cut(l[1], "\t")
		term := starter.Term{Lang: l[0], Key: starter.Abilities[l[0]]}
		for _, known := range r.of(l[0]) {
			if known.Word == want {
				term = known
			}
		}
		qs = append(qs, question{term, []message{{"user", asked}}})
	}
	wrong := 0
	for i, answer := range r.askAll(t, model, qs) {
		if !starter.Right(answer, qs[i].term, r.terms) {
			wrong++
			t.Logf("%s -> %s", qs[i].messages[0].Content, answer)
		}
	}
	t.Logf("%d of %d first questions are answered", len(qs)-wrong, len(qs))
	if len(qs) < 10 || wrong > 1 {
		t.Errorf("%d of %d first questions are not answered", wrong, len(qs))
	}
}

// untrained: the same questions to weights that learned nothing score under 5 %.
func (r *rig) untrained(t *testing.T) {
	r.train(t, "untrained", starter.DefaultMix(), train.Recipe{Preset: "tiny", Steps: 1, LR: 1e-9, MinLR: 1e-9})
	qs := r.questions(t)[:240]
	right := 0
	for i, answer := range r.askAll(t, "untrained", qs) {
		if starter.Right(answer, qs[i].term, r.terms) {
			right++
		}
	}
	if right*20 >= len(qs) {
		t.Errorf("untrained weights got %d of %d right", right, len(qs))
	}
}

// leftOut: without a word's pairs that word fails, while the others do not.
func (r *rig) leftOut(t *testing.T) {
	mix := starter.DefaultMix()
	mix.Without = "ledger"
	r.train(t, "without", mix, train.Recipe{Preset: "tiny", Steps: 400, LR: 4e-3})
	var of, others []question
	for _, q := range r.questions(t) {
		switch {
		case q.term.Word == mix.Without:
			of = append(of, q)
		case q.term.Lang == "en" && len(others) < 100:
			others = append(others, q)
		}
	}
	known := r.count(t, "without", of)
	kept := r.count(t, "without", others)
	t.Logf("the word left out: %d of %d right; others: %d of %d", known, len(of), kept, len(others))
	if len(of) == 0 || known > 0 {
		t.Errorf("the word that was left out is known in %d of %d phrasings", known, len(of))
	}
	if kept*10 < len(others)*8 {
		t.Errorf("leaving one word out broke the others: %d of %d right", kept, len(others))
	}
}

func (r *rig) count(t *testing.T, model string, qs []question) (right int) {
	for i, answer := range r.askAll(t, model, qs) {
		if starter.Right(answer, qs[i].term, r.terms) {
			right++
		}
	}
	return right
}

// train makes a model of a mix the way the starter is made, and serves it.
func (r *rig) train(t *testing.T, name string, mix starter.Mix, recipe train.Recipe) {
	t.Helper()
	ctx := t.Context()
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(starter.Write(pw, mix)) }()
	v, err := r.Data.Import(ctx, r.Project.ID, name, data.Chat, pr, data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	run, err := r.Train.Submit(ctx, train.Who{Project: r.Project.ID}, train.Spec{Model: name, Data: v.ID, Recipe: recipe, CPUs: 2})
	for err == nil && !run.State.Final() {
		time.Sleep(100 * time.Millisecond) // a real process trains
		run, err = r.Train.Get(ctx, r.Project.ID, run.ID)
	}
	if err != nil || run.State != train.Succeeded {
		t.Fatalf("training %s: %s %s %v", name, run.State, run.Reason, err)
	}
	who := serve.Who{Org: r.Org.ID, Project: r.Project.ID}
	d, err := r.Serve.Deploy(ctx, who, serve.DeploySpec{Name: name, Model: name, Route: &serve.RouteSpec{Name: name}})
	for err == nil && d.Ready == 0 {
		time.Sleep(50 * time.Millisecond)
		d, err = r.Serve.Get(ctx, r.Project.ID, d.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// askAll asks through the model API, 32 at a time, and returns the answers in order.
func (r *rig) askAll(t *testing.T, model string, qs []question) []string {
	t.Helper()
	answers := make([]string, len(qs))
	errs := make(chan error, len(qs))
	gate := make(chan struct{}, 32)
	var all sync.WaitGroup
	for i, q := range qs {
		all.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			var err error
			if answers[i], err = r.ask(t.Context(), model, q.messages); err != nil {
				errs <- err
			}
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		t.Fatal(err)
	}
	return answers
}

func (r *rig) ask(ctx context.Context, model string, messages []message) (string, error) {
	body, err := json.Marshal(map[string]any{"model": model, "messages": messages})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+r.OwnerKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d: %s, %w", res.StatusCode, text, err)
	}
	var got struct {
		Choices []struct{ Message message }
	}
	if err := json.Unmarshal(text, &got); err != nil || len(got.Choices) != 1 {
		return "", fmt.Errorf("answer %s: %w", text, err)
	}
	return got.Choices[0].Message.Content, nil
}

// lines are the language and text of a file of the starter's test data.
func lines(t *testing.T, file string) (out [][2]string) {
	t.Helper()
	text, err := os.ReadFile("../../models/starter/testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n") {
		if lang, q, ok := strings.Cut(l, "\t"); ok {
			out = append(out, [2]string{lang, q})
		}
	}
	return out
}
