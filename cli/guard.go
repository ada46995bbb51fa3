package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/triarch-ai/triarch/api"
)

// guardFlags are the flags of who judges a route's texts.
type guardFlags struct {
	who, when, form, keyEnv string
	open, private           bool
	wait                    time.Duration
	piece                   int
}

func (g *guardFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&g.who, "guard", "", "who judges prompts and answers: the public name of a model, or https://...; none: nobody any more")
	f.StringVar(&g.when, "guard-when", "", "before (prompts), after (answers) or both (default both)")
	f.StringVar(&g.form, "guard-form", "", "how an address is asked: empty for the guard contract, moderation for OpenAI's")
	f.StringVar(&g.keyEnv, "guard-key-env", "", "variable of the environment with the bearer key for the address")
	f.BoolVar(&g.open, "guard-open", false, "what cannot be judged passes, instead of being refused")
	f.BoolVar(&g.private, "guard-allow-private", false, "the address may be inside the network, and plain http; for operators")
	f.DurationVar(&g.wait, "guard-timeout", 0, "the longest that one judgement takes; 0: 5s")
	f.IntVar(&g.piece, "guard-piece", 0, "characters of a stream that are held back and judged together; 0: 512")
}

// change is what the flags that were given say; nil if none was.
func (g *guardFlags) change(f *pflag.FlagSet) (*api.NewGuard, error) {
	var n api.NewGuard
	some := false
	given := func(name string) bool {
		some = some || f.Changed(name)
		return f.Changed(name)
	}
	if given("guard") {
		switch none := ""; {
		case g.who == "none" || g.who == "":
			n.URL, n.Model = &none, &none
		case strings.Contains(g.who, "://"):
			n.URL = &g.who
		default:
			n.Model = &g.who
		}
	}
	if given("guard-when") {
		n.When = &g.when
	}
	if given("guard-form") {
		n.Form = &g.form
	}
	if given("guard-open") {
		n.Open = &g.open
	}
	if given("guard-allow-private") {
		n.AllowPrivate = &g.private
	}
	if given("guard-timeout") {
		n.TimeoutMS = new(millis(g.wait))
	}
	if given("guard-piece") {
		n.Piece = &g.piece
	}
	if given("guard-key-env") {
		secret, err := secretFrom(g.keyEnv)
		if err != nil {
			return nil, err
		}
		n.Key = &secret
	}
	if !some {
		return nil, nil
	}
	return &n, nil
}

// guardText is a guard in a line.
func guardText(g *api.Guard) string {
	who := g.Model
	if who == "" {
		who = g.URL
	}
	what := map[string]string{"before": "prompts", "after": "answers", "both": "prompts and answers"}[g.When]
	text := fmt.Sprintf("%s judges %s, within %s each", who, what, time.Duration(g.TimeoutMS)*time.Millisecond)
	if g.When != "before" {
		text += fmt.Sprintf(", streams by %d characters", g.Piece)
	}
	if g.Open {
		return text + "; what cannot be judged passes"
	}
	return text + "; what cannot be judged is refused"
}
