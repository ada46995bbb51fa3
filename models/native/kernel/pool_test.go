package kernel

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

func TestRunCallsEachIndexOnce(t *testing.T) {
	for _, threads := range []int{0, 1, 2, 3, 8} {
		p := NewPool(threads)
		for _, n := range []int{0, 1, 2, 7, 100, 1000} {
			seen := make([]atomic.Int32, n)
			p.Run(n, func(i int) { seen[i].Add(1) })
			for i := range seen {
				if c := seen[i].Load(); c != 1 {
					t.Fatalf("%d threads, n=%d: index %d ran %d times", threads, n, i, c)
				}
			}
		}
		p.Close()
		p.Close()
		var after atomic.Int32
		p.Run(5, func(int) { after.Add(1) })
		if after.Load() != 5 {
			t.Errorf("after Close %d of 5 ran", after.Load())
		}
	}
}

func TestNilPool(t *testing.T) {
	var p *Pool
	sum := 0
	p.Run(4, func(i int) { sum += i })
	p.Close()
	if sum != 6 || p.Threads() != 1 {
		t.Errorf("sum %d, threads %d", sum, p.Threads())
	}
}

// TestRunInsideRun shares one pool between several goroutines whose work itself uses the pool.
func TestRunInsideRun(t *testing.T) {
	p := NewPool(3)
	defer p.Close()
	var total atomic.Int64
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for range 50 {
				p.Run(6, func(int) { p.Run(5, func(int) { total.Add(1) }) })
			}
		})
	}
	callers.Wait()
	if got := total.Load(); got != 4*50*6*5 {
		t.Errorf("%d inner calls, want %d", got, 4*50*6*5)
	}
}

func TestPanicReachesTheCaller(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	boom := errors.New("boom")
	var others atomic.Int32
	func() {
		defer func() {
			if v, _ := recover().(error); !errors.Is(v, boom) {
				t.Errorf("recovered %v", v)
			}
		}()
		p.Run(10, func(i int) {
			if i == 3 {
				panic(boom)
			}
			others.Add(1)
		})
	}()
	if others.Load() != 9 {
		t.Errorf("%d other calls ran, want 9", others.Load())
	}
	p.Run(3, func(int) { others.Add(1) })
	if others.Load() != 12 {
		t.Error("the pool does not work after a panic")
	}
}

// TestProductsSideBySide lets several goroutines multiply on one pool and compares their results.
func TestProductsSideBySide(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	var callers sync.WaitGroup
	for g := range 3 {
		callers.Go(func() {
			r := newRand(uint64(g))
			x := newProduct(r, forms[g], 90, 110, 70, 3)
			want := x.result(nil)
			for range 20 {
				got := x.result(p)
				for i := range want {
					if got[i] != want[i] {
						t.Errorf("%v: element %d is %g, want %g", x, i, got[i], want[i])
						return
					}
				}
			}
		})
	}
	callers.Wait()
}

func TestDefaultThreads(t *testing.T) {
	if n := DefaultThreads(); n < 1 || n > runtime.NumCPU() {
		t.Errorf("%d threads on %d CPUs", n, runtime.NumCPU())
	}
}

func TestSelectRefusesTheUnknown(t *testing.T) {
	was := Name()
	if err := Select("mmx"); err == nil || Name() != was {
		t.Errorf("Select(mmx) = %v, path %s", err, Name())
	}
}
