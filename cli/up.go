package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/starter"
	"github.com/triarch-ai/triarch/system"
)

// upOptions are the flags of up; those that are settings go to the configuration under the setting's name.
type upOptions struct {
	config     string
	detach     bool
	background bool // this is the process that a detaching up left behind
	noStarter  bool
	settings   map[string]*string
}

// settingFlags are the flags of up that set a setting.
var settingFlags = []struct{ flag, setting, help string }{
	{"listen", "listen", "address the API listens on (default 127.0.0.1:8420)"},
	{"public-url", "public-url", "address of the API for other machines, as printed (default: the certificate's name, or the address)"},
	{"database", "database", "postgres://... (default: SQLite in the data directory)"},
	{"secret-key", "secret-key", "file with the key that seals secrets in the database (default: secret.key in the data directory)"},
	{"roles", "roles", "roles of this process: control,gateway"},
	{"threads", "threads", "cores for work on this machine (default: what the process may use)"},
	{"tls-cert", "tls.cert", "PEM file with the certificate chain"},
	{"tls-key", "tls.key", "PEM file with the private key"},
	{"log-level", "log.level", "debug, info, warn or error (default info)"},
	{"log-format", "log.format", "text or json (default text)"},
}

func (a *app) upCommand() *cobra.Command {
	o := &upOptions{settings: map[string]*string{}}
	c := &cobra.Command{
		Use: "up", Short: "Start Triarch; on an empty data directory, make the starter model first", Args: cobra.NoArgs,
		Long: `Starts the control plane and the gateway on the data directory. On an empty one it trains, registers and
serves a small starter model first, in front of you.

Ctrl-C ends the control plane alone: training and replicas go on and are found again by the next up.
"triarch down" ends everything.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags := map[string]string{}
			for _, f := range settingFlags {
				if cmd.Flags().Changed(f.flag) {
					flags[f.setting] = *o.settings[f.setting]
				}
			}
			if err := passwordInArguments(flags["database"]); err != nil {
				return err
			}
			if cmd.Flags().Changed("insecure") {
				flags["insecure"] = cmd.Flag("insecure").Value.String()
			}
			if cmd.Root().PersistentFlags().Changed("data") {
				flags["data"] = a.data
			}
			return a.up(cmd.Context(), o, flags)
		},
	}
	f := c.Flags()
	for _, s := range settingFlags {
		o.settings[s.setting] = f.String(s.flag, "", s.help)
	}
	f.Bool("insecure", false, "listen without TLS on an address others can reach")
	f.StringVar(&o.config, "config", os.Getenv("TRIARCH_CONFIG"), "configuration file (default: config.yaml in the data directory)")
	f.BoolVar(&o.detach, "detach", false, "go to the background once the API answers; the output goes to logs/up.log in the data directory")
	f.BoolVar(&o.background, backgroundFlag, false, "")
	_ = f.MarkHidden(backgroundFlag) // it was defined in the line before
	f.BoolVar(&o.noStarter, "no-starter", false, "do not make the starter model")
	return c
}

func (a *app) up(ctx context.Context, o *upOptions, flags map[string]string) error {
	if o.noStarter {
		flags["starter"] = "false"
	}
	cfg, _, err := system.LoadConfig(o.config, os.Environ(), flags)
	if err != nil {
		return err
	}
	a.data = cfg.Data
	if o.detach {
		return a.detach(ctx, cfg)
	}
	out := a.Err
	if o.background {
		out = &background{path: system.LogFile(cfg.Data), before: a.Err}
	}
	s, err := system.Start(ctx, cfg, newLog(cfg, a, out), a.extras...)
	if err != nil {
		return err
	}
	if o.background {
		a.Out, a.Err = out, out
	}
	return a.attend(ctx, s)
}

// attend shows the running system until it is told to end.
func (a *app) attend(ctx context.Context, s *system.System) error {
	a.Printf("Triarch %s answers at %s\n", system.Version, s.URL)
	if s.Public != s.URL {
		a.Printf("  for others      %s\n", s.Public)
	}
	a.Printf("  data directory  %s\n", s.Config.Data)
	if a.Terminal {
		a.Printf("  owner's key     %s\n", s.OwnerKey)
	} else {
		a.Printf("  owner's key     in %s\n", filepath.Join(s.Config.Data, "owner.key"))
	}
	made := make(chan error, 1)
	go func() { made <- a.makeStarter(ctx, s) }()
	var failed error
	for done := false; !done; {
		select {
		case <-ctx.Done():
			done = true
		case failed = <-s.Broken():
			done = true
		case err := <-made:
			made = nil
			a.starterMade(s, err)
		}
	}
	a.Printf("\nEnding the control plane. Training and replicas go on; `%s` finds them again, `%s` ends them.\n", a.command("up"), a.command("down"))
	return errors.Join(failed, s.Stop(context.WithoutCancel(ctx)))
}

// makeStarter makes the starter where one is wanted, in front of the user.
func (a *app) makeStarter(ctx context.Context, s *system.System) error {
	if !s.WantsStarter() {
		return s.AwaitRoutes(ctx, 10*time.Second)
	}
	if s.First {
		a.Printf("\nThis data directory is empty: making a small starter model that knows the words of Triarch.\n")
	} else {
		a.Printf("\nGoing on with the starter model, which an earlier start began to make.\n")
	}
	var bar = a.Bar("training")
	stage := starter.Stage("")
	return s.MakeStarter(ctx, system.TrainingTime, func(p starter.Progress) {
		if p.Stage != stage {
			a.enterStage(s, bar, stage, p)
			stage = p.Stage
		}
		if p.Stage == starter.Training && p.Run.Progress.Steps > 0 {
			r := p.Run.Progress
			bar.Set(int64(r.Step), int64(r.Steps), fmt.Sprintf("loss %.3f  %s tok/s  %s left", r.Loss, thousands(r.TokensPerSecond), p.Left.Round(time.Second)))
		}
	})
}

type bar interface{ Done(note string) }

func (a *app) enterStage(s *system.System, b bar, before starter.Stage, p starter.Progress) {
	if before == starter.Training {
		b.Done(fmt.Sprintf("done, loss %.3f, as %s", p.Run.Progress.Loss, p.Run.ModelVersion))
	}
	switch p.Stage {
	case starter.Preparing:
		a.Printf("preparing the conversations and measuring this machine\n")
	case starter.Training:
		e := p.Run.Estimate
		a.Printf("training %s: %.1f M parameters, %d steps on %d cores, about %s\n", p.Run.ID, float64(e.Params)/1e6, e.Steps, p.Run.CPUs, e.Duration.Round(time.Second))
	case starter.Deploying:
		a.Printf("deploying it\n")
	}
}

// starterMade prints what a person can do now.
func (a *app) starterMade(s *system.System, err error) {
	switch {
	case errors.Is(err, context.Canceled):
		return
	case err != nil:
		fmt.Fprintf(a.Err, "error: the starter: %s\n", fault.As(err).Sentence())
		return
	}
	model := firstModel(s.RouteNames())
	if model == "" {
		return
	}
	question := "What is a ledger?"
	a.Printf("\nAsk it:\n\n  curl %s/v1/chat/completions -H \"Authorization: Bearer $(cat %s)\" \\\n    -H 'Content-Type: application/json' -d '{\"model\": \"%s\", \"messages\": [{\"role\": \"user\", \"content\": \"%s\"}]}'\n\n",
		s.Public, shellQuote(filepath.Join(s.Config.Data, "owner.key")), model, question)
	a.Printf("or talk to it from another terminal:\n\n  %s\n", a.command("chat"))
}

// firstModel is the model to try first: the starter, which knows the question asked.
func firstModel(names []string) string {
	switch {
	case len(names) == 0:
		return ""
	case slices.Contains(names, "starter"):
		return "starter"
	}
	return names[0]
}

func thousands(n float64) string {
	if n < 10_000 {
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("%.1fk", n/1000)
}

// newLog is the log of `up`: to out, warnings alone while a person watches unless asked otherwise.
func newLog(cfg system.Config, a *app, out io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.Log.Level)) // checked by Config.Check
	if a.Terminal && cfg.Log.Level == "info" {
		level = slog.LevelWarn
	}
	opt := &slog.HandlerOptions{Level: level}
	if cfg.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(out, opt))
	}
	return slog.New(slog.NewTextHandler(out, opt))
}

// passwordInArguments refuses a database address with a password on the command line, where every user of the
// machine can read it.
func passwordInArguments(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return nil // the database says what is wrong with it
	}
	_, has := u.User.Password()
	query, _ := url.ParseQuery(u.RawQuery) // what cannot be read of it the database cannot, either
	for name := range query {
		has = has || strings.EqualFold(name, "password") || strings.EqualFold(name, "sslpassword")
	}
	if !has {
		return nil
	}
	return fault.New(fault.Invalid, "The database address on the command line holds a password, which others can read there.", fault.Field("database"),
		fault.Fix("Set TRIARCH_DATABASE, or database in the configuration file"))
}
