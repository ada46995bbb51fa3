package job

import (
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Bounds of a spec.
const (
	maxWords     = 1024 // arguments, and environment entries
	maxWordBytes = 64 << 10
	maxFiles     = 64
	maxFileBytes = 8 << 20 // all files of a command together
	maxCPUs      = 4096
	maxName      = 200
)

// withDefaults fills in what a caller left out.
func (s Spec) withDefaults() Spec {
	if s.Grace <= 0 {
		s.Grace = 10 * time.Second
	}
	if s.Restart.BackoffBase <= 0 {
		s.Restart.BackoffBase = time.Second
	}
	if s.Restart.BackoffMax <= 0 {
		s.Restart.BackoffMax = max(time.Minute, s.Restart.BackoffBase)
	}
	if s.Restart.Healthy <= 0 {
		s.Restart.Healthy = 10 * time.Minute
	}
	return s
}

// Validate says which field of a spec is wrong, or nil.
func (s Spec) Validate() error {
	switch {
	case s.Project == "":
		return fault.InvalidField("project", "A job needs a project.")
	case s.Kind == "" || len(s.Kind) > maxName:
		return fault.InvalidField("kind", "A job needs a kind of at most %d bytes.", maxName)
	case len(s.Name) > maxName || len(s.Owner) > maxName:
		return fault.InvalidField("name", "A job's name and owner have at most %d bytes.", maxName)
	case !plain(s.Project + s.Kind + s.Name + s.Owner):
		return fault.InvalidField("name", "A job's names are UTF-8 text without NUL.")
	case s.CPUs < 0 || s.CPUs > maxCPUs:
		return fault.InvalidField("cpus", "CPUs must be 0 to %d.", maxCPUs)
	case s.MemoryBytes < 0:
		return fault.InvalidField("memory_bytes", "Memory cannot be negative.")
	case s.Restart.Max < 0:
		return fault.InvalidField("restart.max", "The number of restarts cannot be negative.")
	case s.Restart.BackoffMax > 0 && s.Restart.BackoffBase > s.Restart.BackoffMax:
		return fault.InvalidField("restart.backoff_base", "The first wait cannot be longer than the longest.")
	}
	if err := s.Ask.Validate(); err != nil {
		return err
	}
	return s.Command.Validate()
}

// Validate says what is wrong with a command, or nil. File names must stay inside the attempt's folder and leave
// the names that executors use alone: theirs have no folder and end in .json or begin with "log" or "supervisor".
func (c Command) Validate() error {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return fault.InvalidField("command.argv", "A command needs a program.")
	}
	if len(c.Argv) > maxWords || len(c.Env) > maxWords {
		return fault.InvalidField("command.argv", "A command has at most %d arguments and environment entries.", maxWords)
	}
	for _, w := range c.Argv {
		if len(w) > maxWordBytes || !plain(w) {
			return fault.InvalidField("command.argv", "An argument is UTF-8 text of at most %d bytes without NUL.", maxWordBytes)
		}
	}
	for _, e := range c.Env {
		if i := strings.IndexByte(e, '='); i < 1 || len(e) > maxWordBytes || !plain(e) {
			return fault.InvalidField("command.env", "An environment entry reads NAME=value, UTF-8 text of at most %d bytes without NUL.", maxWordBytes)
		}
	}
	if c.Dir != "" && c.Dir != StateDir && c.Dir != OutDir {
		return fault.InvalidField("command.dir", "A command's working directory is %s, %s or its attempt's.", StateDir, OutDir)
	}
	return validateFiles(c.Files)
}

// plain says whether a text can be an argument of a program and a value in every database.
func plain(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

func validateFiles(files map[string][]byte) error {
	if len(files) > maxFiles {
		return fault.InvalidField("command.files", "A command has at most %d files.", maxFiles)
	}
	total := 0
	for name, b := range files {
		total += len(b)
		bad := name == "" || len(name) > maxName || path.Clean(name) != name || path.IsAbs(name) ||
			name == "." || name == ".." || strings.HasPrefix(name, "../") || strings.ContainsAny(name, "\\:") || !plain(name)
		if bad || reserved(name) {
			return fault.InvalidField("command.files", "%q cannot be the name of a file of a command.", name)
		}
	}
	if total > maxFileBytes {
		return fault.InvalidField("command.files", "A command's files have at most %d bytes together.", maxFileBytes)
	}
	return nil
}

// reserved names belong to the executor or to the worker itself.
func reserved(name string) bool {
	switch name {
	case "task.json", "supervisor.json", "child.json", "exit.json", "stop.json", "lock", ProgressFile:
		return true
	}
	return name == "log" || strings.HasPrefix(name, "log.") || strings.HasPrefix(name, "supervisor.")
}
