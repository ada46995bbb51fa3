// Package cli is the command line: one file per noun, each command an options struct and a run function over a
// Screen, talking to the control API through package api. Only `up`, `down`, `doctor` and `config` touch the data
// directory themselves.
//
// Exit codes: 0 fine, 1 internal error, 2 bad input, 3 key missing or not enough, 4 not found, 5 conflict, 6 limit
// reached or no money, 7 not reachable or timed out, 130 interrupted.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/system"
)

// app is what every command shares.
type app struct {
	*ui.Screen
	data   string // data directory
	url    string // of the API, when given
	key    string // API key, when given
	output string // "", "json"
	extras []system.Extra

	again    time.Duration // between two looks at what goes on
	patience time.Duration // how long to wait for a server that went away while it was looked at
}

// Main runs the command line and returns its exit code. Extras are for rigs outside the product.
func Main(args []string, extras ...system.Extra) int {
	if handled, code := system.Inner(args); handled {
		return code
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	screen := ui.NewScreen()
	screen.JSON = wantsJSON(args)
	root := newRoot(screen, extras...)
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		return report(screen, err)
	}
	return 0
}

// wantsJSON finds -o json before the command line is read, so that a command line that cannot be read fails as JSON.
func wantsJSON(args []string) bool {
	for i, arg := range args {
		switch arg {
		case "--":
			return false
		case "-ojson", "-o=json", "--output=json":
			return true
		case "-o", "--output":
			if i+1 < len(args) && args[i+1] == "json" {
				return true
			}
		}
	}
	return false
}

// report prints a failure for people or programs and returns the exit code.
func report(s *ui.Screen, err error) int {
	if usage, ok := errors.AsType[*usageError](err); ok {
		err = fault.New(fault.Invalid, usage.Error(), fault.Code("usage"))
	}
	if end, ok := errors.AsType[programEnd](err); ok {
		return int(end) // the program said itself what it had to say
	}
	f := fault.As(err)
	if s.JSON {
		enc := json.NewEncoder(s.Err)
		enc.SetEscapeHTML(false)
		enc.Encode(map[string]any{"error": map[string]string{"kind": string(f.Kind), "code": f.Code, "field": f.Field, "message": f.Message, "fix": f.Fix}})
		return fault.ExitCode(err)
	}
	text := f.Sentence()
	if f.Kind == fault.Internal {
		text = err.Error() // on the command line the person and the operator are the same
	}
	if f.Field != "" && !strings.Contains(text, f.Field) {
		text = f.Field + ": " + text
	}
	fmt.Fprintf(s.Err, "error: %s\n", ui.Visible(text))
	return fault.ExitCode(err)
}

// usageError is a command line that cobra could not read.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() }

func newRoot(screen *ui.Screen, extras ...system.Extra) *cobra.Command {
	a := &app{Screen: screen, extras: extras, again: 200 * time.Millisecond, patience: 2 * time.Minute}
	root := &cobra.Command{
		Use:   "triarch",
		Short: "An AI cloud in one program: compute, models, applications",
		Long: `Triarch trains, keeps and serves models on the machines you own, behind an OpenAI-compatible API that meters
every token. Start with:

  triarch up        make or start everything in the data directory
  triarch chat      talk to a model
  triarch --help    the rest

Exit codes: 0 fine, 1 internal error, 2 bad input, 3 key missing or not enough, 4 not found, 5 conflict,
6 limit reached or no money, 7 not reachable or timed out, 130 interrupted.`,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return a.checkOutput(c) },
	}
	f := root.PersistentFlags()
	f.StringVar(&a.data, "data", system.DefaultData(), "data directory (TRIARCH_DATA)")
	f.StringVar(&a.url, "url", "", "address of the API (TRIARCH_URL; default: the data directory's endpoint file)")
	f.StringVar(&a.key, "key", "", "API key (TRIARCH_KEY; default: the data directory's owner.key file)")
	f.StringVarP(&a.output, "output", "o", "", "json for programs; nothing for people")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(
		a.upCommand(), a.downCommand(), a.statusCommand(), a.doctorCommand(),
		a.dataCommand(), a.trainCommand(), a.runCommand(), a.modelCommand(), a.deployCommand(), a.deploymentCommand(), a.routeCommand(), a.providerCommand(), a.requestCommand(), a.priceCommand(),
		a.chatCommand(), a.orgCommand(), a.projectCommand(), a.memberCommand(), a.keyCommand(), a.budgetCommand(), a.limitCommand(), a.gatewayCommand(), a.webhookCommand(), a.consentCommand(), a.usageCommand(), a.reconcileCommand("reconcile"),
		a.queueCommand(), a.jobCommand(), a.nodeCommand(), a.chipCommand(), a.estimateCommand(), a.perfCommand(), a.quotaCommand(), a.simCommand(), a.planCommand(), a.configCommand(), a.versionCommand(),
	)
	markUsage(root)
	return root
}

// markUsage has wrong arguments end with exit code 2, as wrong flags do, and nouns without a verb print their help.
func markUsage(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return &usageError{fmt.Errorf("%w\nusage: %s", err, cmd.UseLine())}
			}
			if err := cmd.ValidateRequiredFlags(); err != nil {
				return &usageError{err}
			}
			return nil
		}
	}
	if c.HasSubCommands() && c.Run == nil && c.RunE == nil {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("unknown command %q for %q; `%s --help` lists them", args[0], cmd.CommandPath(), cmd.CommandPath())}
			}
			return cmd.Help()
		}
	}
	for _, sub := range c.Commands() {
		markUsage(sub)
	}
}

// tabular marks a command whose answer is a table, which -o csv prints as comma-separated values.
func tabular(c *cobra.Command) { c.Annotations = map[string]string{"csv": ""} }

func (a *app) checkOutput(c *cobra.Command) error {
	switch a.output {
	case "json":
		a.JSON = true
	case "", "table":
	case "csv":
		if _, ok := c.Annotations["csv"]; !ok {
			return fault.InvalidField("output", "%s cannot print comma-separated values; -o must be json or table", c.CommandPath())
		}
		a.CSV = true
	default:
		return fault.InvalidField("output", "-o is %q; it must be json or table, or csv where a table is all that is told", a.output)
	}
	return nil
}

// client is the API client: flags, then TRIARCH_URL and TRIARCH_KEY, then the data directory's files. Where both are
// the directory's and nothing proves the server to be its own, a control plane must hold the directory: once it is gone,
// whoever takes its port would be sent the owner's key.
func (a *app) client() (*api.Client, error) {
	named := first(a.url, os.Getenv("TRIARCH_URL"))
	url := first(named, a.file("endpoint"))
	if url == "" {
		return nil, a.notRunning()
	}
	given := first(a.key, os.Getenv("TRIARCH_KEY"))
	key := first(given, a.file("owner.key"))
	if key == "" {
		return nil, fault.New(fault.Unauthenticated, "No API key is known.", fault.Fix("Give one with --key or TRIARCH_KEY"))
	}
	if named == "" && given == "" && !strings.HasPrefix(url, "https://") {
		if _, held := system.Holder(a.data); !held {
			return nil, a.notRunning()
		}
	}
	return api.New(url, key, api.WithHTTP(api.NewHTTP(a.pin(url)))), nil
}

func (a *app) notRunning() error {
	return fault.New(fault.Unavailable, "Triarch is not running on "+a.data+".",
		fault.Fix("Start it with `%s`, or name a running one with --url and --key", a.command("up")))
}

// pin is the hash of the certificate that the data directory's own server has; empty for any other server. Its
// certificate need not be for the address of this machine that is called here.
func (a *app) pin(url string) string {
	if !strings.HasPrefix(url, "https://") || strings.TrimRight(url, "/") != a.file("endpoint") {
		return ""
	}
	return a.file("endpoint.sha256")
}

// command is a command line that runs as printed where the person stands: this program as it can be called there,
// on this data directory.
func (a *app) command(format string, args ...any) string {
	line := selfName() + " " + fmt.Sprintf(format, args...)
	home, err := os.UserHomeDir()
	if abs, e := filepath.Abs(a.data); e == nil && (err != nil || abs != filepath.Join(home, ".triarch")) {
		line += " --data " + shellQuote(abs)
	}
	return line
}

// selfName is "triarch" where that is on the path and is this program, else the shortest path that leads to it.
func selfName() string {
	self, err := os.Executable()
	if err != nil {
		return "triarch"
	}
	if found, err := exec.LookPath("triarch"); err == nil {
		if a, err := os.Stat(found); err == nil {
			if b, err := os.Stat(self); err == nil && os.SameFile(a, b) {
				return "triarch"
			}
		}
	}
	if here, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(here, self); err == nil && !strings.HasPrefix(rel, "..") {
			return "./" + rel
		}
	}
	return shellQuote(self)
}

func shellQuote(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\n'\"\\$&|;<>()*?[]{}~#!`") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// file reads a one-line file of the data directory; empty when it is not there.
func (a *app) file(name string) string {
	text, err := os.ReadFile(filepath.Join(a.data, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// noun makes a command that only groups others.
func noun(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short}
	c.AddCommand(verbs...)
	return c
}

// verb makes a command with a run function over the client.
func (a *app) verb(use, short string, args cobra.PositionalArgs, run func(ctx context.Context, c *api.Client, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		return a.reachable(run(cmd.Context(), c, args))
	}}
}

// reachable has a failure to reach the server name a command that starts it here.
func (a *app) reachable(err error) error {
	if f := fault.As(err); err != nil && f.Code == "no_server" {
		f.Fix = "Start Triarch with `" + a.command("up") + "`, or name another address with --url"
	}
	return err
}
