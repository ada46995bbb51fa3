package front

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

type aKey struct{}

func TestSpan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &span{values: context.WithValue(context.Background(), aKey{}, "v")}
		if s.Err() != nil || s.Value(aKey{}) != "v" {
			t.Fatalf("a new one: %v, %v", s.Err(), s.Value(aKey{}))
		}
		var called []string
		call := func(name string) func() { return func() { called = append(called, name) } }
		stopped := s.AfterFunc(call("stopped"))
		kept := context.AfterFunc(s, call("kept"))
		child, cancel := context.WithTimeout(s, time.Hour)
		defer cancel()
		detached := context.WithoutCancel(s)
		if !stopped() || stopped() {
			t.Error("a hook is not stopped exactly once")
		}
		early := s.Done()
		s.end()
		s.end()
		<-early
		<-s.Done()
		<-child.Done()
		synctest.Wait()
		if !errors.Is(s.Err(), context.Canceled) || !errors.Is(child.Err(), context.Canceled) || detached.Err() != nil || kept() {
			t.Errorf("at the end: %v, a child %v, a detached one %v", s.Err(), child.Err(), detached.Err())
		}
		stop := s.AfterFunc(call("late"))
		synctest.Wait()
		if stop() || len(called) != 2 || called[0] != "kept" || called[1] != "late" {
			t.Errorf("called %v", called)
		}
	})
}

func TestSpanEndsBeforeDone(t *testing.T) {
	s := &span{values: context.Background()}
	s.end()
	<-s.Done()
	if ctx, cancel := context.WithCancel(s); ctx.Err() == nil {
		cancel()
		t.Error("a child of an ended one lives")
	} else {
		cancel()
	}
}

// A context that nobody waits for serves the next request; one that somebody waits for does not come back to life.
func TestSpanRenews(t *testing.T) {
	s := &span{values: context.Background()}
	late := s.AfterFunc(func() {})
	s.end()
	if !s.renew() || s.Err() != nil {
		t.Fatalf("it does not begin again: %v", s.Err())
	}
	called := make(chan struct{})
	stop := s.AfterFunc(func() { close(called) })
	if late() {
		t.Error("the end of an earlier request's hook stopped one of this request")
	}
	s.end()
	<-called
	if stop() {
		t.Error("a hook that ran was stopped")
	}
	if !s.renew() {
		t.Fatal("it does not begin a third time")
	}
	done := s.Done()
	s.end()
	<-done
	if s.renew() || s.Err() == nil {
		t.Error("a context that somebody waited for begins again")
	}
}
