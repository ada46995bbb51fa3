package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestSentenceHidesTheCause(t *testing.T) {
	e := New(Unavailable, "The database is locked.", Fix("Stop the other process"), Cause(errors.New("pid 7")))
	if got := e.Sentence(); got != "The database is locked. Stop the other process" {
		t.Fatalf("sentence: %q", got)
	}
	if !strings.Contains(e.Error(), "pid 7") {
		t.Fatalf("the log form lost the cause: %q", e.Error())
	}
	if strings.Contains(As(errors.New("secret detail")).Sentence(), "secret") {
		t.Fatal("a bare error reached the user's sentence")
	}
}

func TestKindSurvivesWrapping(t *testing.T) {
	err := fmt.Errorf("load: %w", InvalidField("limit", "must be positive, got %d", -1))
	if KindOf(err) != Invalid || As(err).Field != "limit" || !Is(Wrap(err, "reading"), Invalid) {
		t.Fatalf("kind or field lost: %v", err)
	}
	if KindOf(Wrap(context.Canceled, "x")) != Canceled || KindOf(errors.New("x")) != Internal || KindOf(nil) != "" {
		t.Fatal("kinds of plain errors")
	}
}

func TestEveryKindHasStatusAndExitCode(t *testing.T) {
	for _, k := range []Kind{Invalid, Unauthenticated, Forbidden, NotFound, Conflict, TooLarge, RateLimited, NoMoney,
		Unsupported, Unavailable, Timeout, Canceled, Internal} {
		if _, ok := statuses[k]; !ok {
			t.Errorf("%s has no status", k)
		}
		if ExitCode(New(k, "x")) == 0 {
			t.Errorf("%s exits 0", k)
		}
	}
}
