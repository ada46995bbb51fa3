package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/api"
)

func (a *app) requestCommand() *cobra.Command {
	explain := a.verb("explain ID", "Say what was decided on the way of a request, by its x-request-id", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		x, err := c.ExplainRequest(ctx, args[0])
		if err != nil {
			return err
		}
		return a.Value(x, func() { a.explainRequest(x, triedNames(ctx, c, x)) })
	})
	return noun("request", "Requests of the model API", a.requestList(), a.requestShow(), a.requestBodies(), a.requestBody(), explain)
}

func triedNames(ctx context.Context, c *api.Client, x api.RequestExplanation) map[string]string {
	var local, outside bool
	for _, t := range x.Tries {
		out := strings.Contains(t.Backend, "/")
		local, outside = local || !out, outside || out
	}
	return namesOf(ctx, c, local, outside)
}

// triedText is what was asked in the words of --to, and which replica of it; a provider's model has none.
func triedText(t api.RequestTry, names map[string]string) (backend, replica string) {
	provider, model, outside := strings.Cut(t.Backend, "/")
	if outside {
		return backendText(api.Backend{Provider: provider, Model: model}, names), "-"
	}
	return backendText(api.Backend{Deployment: t.Backend}, names), t.Replica
}

func (a *app) explainRequest(x api.RequestExplanation, names map[string]string) {
	a.Printf("%s asked for %s at %s: %s after %s\n", x.Request, x.Model, x.At.Format(time.RFC3339), x.Outcome, seconds(x.Took))
	if x.Reason != "" {
		a.Printf("%s (%s)\n", x.Reason, x.Code)
	}
	if x.Outcome != "refused" {
		a.Printf("%d tokens in, %d out, %d micro-units at the prices %s; first byte after %s\n", x.Input, x.Output, x.CostMicros, x.PriceVersion, seconds(x.FirstByte))
	}
	if x.Estimated {
		a.Printf("the tokens were estimated in part: who served told no counts\n")
	}
	if x.Blocks > 0 || x.Matched > 0 {
		a.Printf("of %d blocks of its prompt the replica had seen %d\n", x.Blocks, x.Matched)
	}
	if x.ServiceTier != "" {
		a.Printf("it was served in the tier %s\n", x.ServiceTier)
	}
	if text := drawnText(x.Canary); text != "" {
		a.Printf("%s\n", text)
	}
	if x.Cut {
		a.Printf("its output was bounded by what the money pays\n")
	}
	a.judgements(x)
	if len(x.Tries) == 0 {
		return
	}
	a.Printf("\n")
	a.Table([]string{"tier", "backend", "replica", "after", "waited", "took", "answer"}, rows(x.Tries, func(t api.RequestTry) []string {
		backend, replica := triedText(t, names)
		return []string{fmt.Sprint(t.Tier), backend, replica, seconds(t.After), seconds(t.Waited), seconds(t.Took), answered(t)}
	}))
}

// drawnText says how a request of a route with a canary came to its side.
func drawnText(x *api.RequestCanary) string {
	if x == nil {
		return ""
	}
	side, by, end := "the other backends", "by chance", ""
	if x.On {
		side = "the canary"
	}
	if x.Session {
		by = "by its session"
	}
	if x.Skipped {
		end = ", which could not be asked"
	}
	return fmt.Sprintf("it was drawn to %s %s%s; the canary %s had %d %% of the route's requests at its step %d", side, by, end, x.Canary, x.Percent, x.Step+1)
}

// judgements are what the route's guard said.
func (a *app) judgements(x api.RequestExplanation) {
	if len(x.Judgements) == 0 {
		return
	}
	a.Printf("\n")
	a.Table([]string{"judged", "guard", "verdict", "passed", "after", "took", "characters", "reason"}, rows(x.Judgements, func(j api.RequestJudgement) []string {
		return []string{j.When, j.Guard, j.Verdict, yesNo(j.Passed), seconds(j.After), seconds(j.Took), fmt.Sprint(j.Chars), strings.TrimSpace(strings.Join(j.Categories, ",") + " " + j.Reason)}
	}))
	if x.MoreJudged > 0 {
		a.Printf("and %d more that let it pass\n", x.MoreJudged)
	}
}

// answered says how a try ended.
func answered(t api.RequestTry) string {
	switch {
	case t.Full:
		return "full"
	case t.Status == 0:
		return "none"
	}
	return fmt.Sprint(t.Status)
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(10 * time.Microsecond).String()
}
