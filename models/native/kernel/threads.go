package kernel

import (
	"runtime"

	"github.com/triarch-ai/triarch/internal/confine"
)

// DefaultThreads is the number of threads that this process may keep busy: the least of GOMAXPROCS and confine.Cores, and
// at least 1.
func DefaultThreads() int { return min(runtime.GOMAXPROCS(0), confine.Cores()) }
