package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"
)

// profileSignal begins a CPU profile of a process, or ends it.
const profileSignal = syscall.SIGUSR1

// spent is CPU time.
type spent struct{ all, user, system time.Duration }

// profileOnSignal writes CPU profiles NAME-1.pprof, NAME-2.pprof and so on, each from one signal to the next, until stop is called.
// Without a name it does nothing.
func profileOnSignal(name string) (stop func()) {
	if name == "" {
		return func() {}
	}
	told, done := make(chan os.Signal, 4), make(chan struct{})
	signal.Notify(told, profileSignal)
	go func() {
		defer close(done)
		var to *os.File
		end := func() {
			if to != nil {
				pprof.StopCPUProfile()
				to.Close()
				to = nil
			}
		}
		defer end()
		for n := 1; ; {
			if _, ok := <-told; !ok {
				return
			}
			if to != nil {
				end()
				n++
				continue
			}
			var err error
			if to, err = os.Create(fmt.Sprintf("%s-%d.pprof", name, n)); err == nil {
				err = pprof.StartCPUProfile(to)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "no profile:", err)
			}
		}
	}()
	return func() {
		signal.Stop(told)
		close(told)
		<-done
	}
}
