package gateway

import (
	"context"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/guard"
	"github.com/triarch-ai/triarch/models/serve"
)

// ErrNoGuard is why nothing can be moderated where no route has a guard.
var ErrNoGuard = fault.New(fault.Unsupported, "No route here has a guard model, which is what would moderate.", fault.Code("not_implemented"),
	fault.Fix("Ask a model to judge the text in a chat completion instead."))

// Moderate judges the texts of a request in the shape of OpenAI's moderations by the guard of a route, and answers in it.
// The model that the request names is a route with a guard, or a model that judges one; a name of OpenAI's own, or none,
// means the only guard there is. What is asked of a model that judges is a request of the caller's key, with its limits and
// its bill; one to an address counts against the requests a minute alone.
func (g *Gateway) Moderate(ctx context.Context, c *Call) ([]byte, error) {
	if err := CheckTag(c.Tag); err != nil {
		return nil, g.counted(ctx, c.Who, err)
	}
	name, inputs, err := guard.ParseModeration(c.Body)
	if err != nil {
		return nil, g.counted(ctx, c.Who, err)
	}
	t, err := g.guardOf(c, name)
	if err != nil {
		return nil, g.counted(ctx, c.Who, err)
	}
	p := &t.Route.Policy.Guard
	if p.Model == "" {
		if over := g.Quota.Count(ctx, c.Who); over != nil {
			return nil, over
		}
	}
	var verdicts []guard.Verdict
	for _, text := range inputs {
		v, err := g.moderated(ctx, c, t, text)
		if err != nil {
			return nil, err
		}
		verdicts = append(verdicts, v)
	}
	return guard.WriteModeration(c.Request.String(), p.By(), verdicts)
}

// moderated judges one text: what any part of it is, it is.
func (g *Gateway) moderated(ctx context.Context, c *Call, t *serve.Target, text string) (all guard.Verdict, err error) {
	parts := guard.Parts(text)
	for i, part := range parts {
		a := &guard.Ask{When: guard.Before, Request: c.RequestID, Project: c.Who.ProjectID, Model: t.Route.Name, Text: part, Part: i, Last: i == len(parts)-1}
		v, _, err := g.verdictOf(ctx, &t.Route, c.Who, c.Tag, false, a)
		if err != nil {
			return all, err
		}
		all.Refused = all.Refused || v.Refused
		for _, x := range v.Categories {
			if !slices.Contains(all.Categories, x) {
				all.Categories = append(all.Categories, x)
			}
		}
		for x, score := range v.Scores {
			if all.Scores == nil {
				all.Scores = map[string]float64{}
			}
			all.Scores[x] = max(all.Scores[x], score)
		}
	}
	return all, nil
}

// guardOf is the route whose guard a request for moderation means.
func (g *Gateway) guardOf(c *Call, name string) (*serve.Target, error) {
	var guarded []*serve.Target // one of each guard
	for _, t := range g.Models(c.Who) {
		p := &t.Route.Policy.Guard
		switch {
		case !p.On():
		case name != "" && (t.Route.Name == name || slices.Contains(t.Route.Aliases, name) || p.Model == name):
			return t, nil
		case !slices.ContainsFunc(guarded, func(x *serve.Target) bool { return x.Route.Policy.Guard.By() == p.By() }):
			guarded = append(guarded, t)
		}
	}
	usual := name == "" || strings.HasPrefix(name, "omni-moderation-") || strings.HasPrefix(name, "text-moderation-")
	switch {
	case len(guarded) == 0:
		return nil, ErrNoGuard
	case !usual:
		return nil, notFound(name)
	case len(guarded) > 1:
		return nil, fault.New(fault.Invalid, "There is more than one guard here.", fault.Field("model"),
			fault.Fix("Set model to the name of a route with a guard, or of a model that judges."))
	}
	return guarded[0], nil
}
