package gateway

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
)

// Of projects that all have requests waiting each gets the same share, however many one of them sends.
func TestLaneIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lane
		var mu sync.Mutex
		var order []byte
		run := func(project byte, n int) {
			for range n {
				go func() {
					if err := l.enter(t.Context(), flow{project: id.Raw{project}}, lanePart, 2, 1000, time.Hour); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					order = append(order, project)
					mu.Unlock()
					time.Sleep(time.Second)
					l.leave()
				}()
				synctest.Wait()
			}
		}
		run('a', 200)
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		mu.Lock()
		from := len(order)
		mu.Unlock()
		run('b', 10)
		run('c', 10)
		time.Sleep(15*time.Second + time.Millisecond)
		synctest.Wait()
		mu.Lock()
		share := map[byte]int{}
		for _, p := range order[from : from+30] {
			share[p]++
		}
		mu.Unlock()
		if share['a'] < 9 || share['a'] > 13 || share['b'] < 9 || share['c'] < 8 {
			t.Errorf("of thirty places a had %d, b %d and c %d", share['a'], share['b'], share['c'])
		}
		time.Sleep(time.Hour)
		synctest.Wait() // orders what follows behind all that the others did
		if l.length() != 0 || l.running != 0 || len(l.tenants) != 0 || len(order) != 220 {
			t.Errorf("%d wait, %d run, %d projects are remembered, %d ran", l.length(), l.running, len(l.tenants), len(order))
		}
	})
}

func TestLaneBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lane
		ctx, leave := context.WithCancel(t.Context())
		if err := l.enter(ctx, flow{project: id.Raw{1}}, lanePart, 1, 1, time.Minute); err != nil {
			t.Fatal(err)
		}
		errs := make(chan error, 2)
		go func() {
			err := l.enter(t.Context(), flow{project: id.Raw{1}}, lanePart, 1, 1, time.Minute)
			errs <- err
		}()
		synctest.Wait()
		if err := l.enter(ctx, flow{project: id.Raw{1}}, lanePart, 1, 1, time.Minute); fault.As(err).Code != "queue_full" {
			t.Errorf("a second one of the project: %v", err)
		}
		go func() {
			err := l.enter(ctx, flow{project: id.Raw{2}}, lanePart, 1, 1, time.Minute)
			errs <- err
		}()
		synctest.Wait()
		leave()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("one that left: %v", err)
		}
		began := time.Now()
		if err := <-errs; fault.As(err).Code != "queue_timeout" || time.Since(began) != time.Minute {
			t.Errorf("one that waited %v: %v", time.Since(began), err)
		}
		l.leave()
		if l.running != 0 || l.waiting != 0 {
			t.Errorf("%+v", &l)
		}
	})
}

// Whatever comes, leaves and gives up, no more run than there is room for, and nobody waits while there is room.
func TestLaneNeverStalls(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 60).Draw(rt, "steps")
		room := rapid.IntRange(1, 4).Draw(rt, "room")
		synctest.Test(t, func(t *testing.T) {
			var l lane
			var mu sync.Mutex
			entered := 0
			var cancels []context.CancelFunc
			for i, s := range steps {
				switch {
				case s < 3:
					ctx, cancel := context.WithCancel(t.Context())
					cancels = append(cancels, cancel)
					go func() {
						if err := l.enter(ctx, flow{project: id.Raw{byte(s)}}, lanePart, room, 5, time.Hour); err == nil {
							mu.Lock()
							entered++
							mu.Unlock()
						}
					}()
				case s < 5:
					mu.Lock()
					some := entered > 0
					if some {
						entered--
					}
					mu.Unlock()
					if some {
						l.leave()
					}
				case len(cancels) > 0:
					cancels[i%len(cancels)]()
				}
				synctest.Wait()
				if l.running > room || l.waiting > 0 && l.running < room || l.running != entered {
					t.Errorf("%d run, %d wait, room for %d, %d entered", l.running, l.waiting, room, entered)
				}
			}
			for _, c := range cancels {
				c()
			}
		})
	})
}
