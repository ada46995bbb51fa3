package job

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
)

// FenceFile is the name, in a job's folder, of the file that holds the highest attempt number ever started.
const FenceFile = "fence"

// ErrSuperseded is what CheckFence returns to a worker whose attempt is no longer the newest.
var ErrSuperseded = errors.New("a newer attempt has taken over")

// ReadFence reads the highest attempt number started in a job's folder; 0 if none was.
func ReadFence(jobDir string) (int, error) {
	b, err := os.ReadFile(filepath.Join(jobDir, FenceFile))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || n < 1 {
		return 0, fault.Newf(fault.Internal, "The fence in %s is damaged.", jobDir)
	}
	return n, nil
}

// CheckFence tells the worker of attempt n whether it may still write: nil if n is the newest attempt of the job
// in jobDir, ErrSuperseded if a newer one took over, another error if that cannot be known (then it may not).
// Workers call it before each checkpoint, registration and request.
func CheckFence(jobDir string, n int) error {
	have, err := ReadFence(jobDir)
	switch {
	case err != nil:
		return err
	case have > n:
		return ErrSuperseded
	case have < n:
		return fault.Newf(fault.Internal, "Attempt %d has no fence in %s.", n, jobDir)
	}
	return nil
}

// Here reads the environment of an attempt's own process: the job's folder, the attempt's folder and number.
func Here() (jobDir, attemptDir string, attempt int, err error) {
	jobDir, attemptDir = os.Getenv(EnvJobDir), os.Getenv(EnvAttemptDir)
	attempt, err = strconv.Atoi(os.Getenv(EnvFence))
	if err != nil || jobDir == "" || attemptDir == "" {
		return "", "", 0, fault.Newf(fault.Invalid, "This process was not started as an attempt of a job: %s, %s or %s is not set.",
			EnvJobDir, EnvAttemptDir, EnvFence)
	}
	return jobDir, attemptDir, attempt, nil
}
