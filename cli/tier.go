package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
)

// takeTiers reads what --tier says: NAME=PERCENT[:WEIGHT][:flagged], or NAME= for none.
func takeTiers(p *api.NewPolicy, list []string) error {
	for _, text := range list {
		name, value, ok := strings.Cut(text, "=")
		t, err := parseTier(value)
		switch {
		case !ok || err != nil:
			return fault.New(fault.Invalid, "A service tier is written "+strconv.Quote(text)+".", fault.Field("--tier"), fault.Fix("Write %s.", "flex=50:25 or priority=150:400:flagged"))
		case name == "flex":
			p.Flex = t
		case name == "priority":
			p.Priority = t
		default:
			return fault.New(fault.Invalid, "There is no service tier "+strconv.Quote(name)+" to set.", fault.Field("--tier"), fault.Fix("Use flex or priority; the default tier costs what the route does."))
		}
	}
	return nil
}

func parseTier(text string) (*api.Tier, error) {
	t := &api.Tier{}
	if text == "" {
		return t, nil
	}
	parts := strings.Split(text, ":")
	if n := len(parts); parts[n-1] == "flagged" {
		t.Flagged, parts = true, parts[:n-1]
	}
	var err error
	switch len(parts) {
	case 2:
		if t.Weight, err = strconv.Atoi(parts[1]); err != nil {
			return nil, err
		}
		fallthrough
	case 1:
		if t.Percent, err = strconv.Atoi(parts[0]); err == nil && t.Percent < 1 {
			err = strconv.ErrRange
		}
	default:
		err = strconv.ErrSyntax
	}
	return t, err
}

// tierText says what a service tier means.
func tierText(name string, t api.Tier) string {
	if t.Percent == 0 {
		return ""
	}
	weight, who := t.Weight, ""
	if weight == 0 {
		weight = 100
	}
	if t.Flagged {
		who = ", for keys with the scope " + name
	}
	return fmt.Sprintf("service tier %s: %d %% of the prices, a weight of %d in queues%s", name, t.Percent, weight, who)
}
