package server

import (
	"strconv"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/data"
	"github.com/triarch-ai/triarch/models/gateway/capture"
	reqlog "github.com/triarch-ai/triarch/models/gateway/seen"
	"github.com/triarch-ai/triarch/models/hub/pulls"
	"github.com/triarch-ai/triarch/models/provider"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/models/train"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/webhook"
)

// PageParam asks for a part of a list. (Types embedded in inputs are exported: huma does not see the fields of
// others.)
type PageParam struct {
	Limit int    `query:"limit" minimum:"0" maximum:"1000" doc:"most items; default 100"`
	After string `query:"after" maxLength:"2048" doc:"what the page before named as next; default: the first page"`
}

// listing is a paged list: its name in cursors and the place of an item in its order, which is the store's.
type listing[T any] struct {
	name  string
	parts int // of a key
	key   func(T) page.Key
}

// page is the part of the list that a request asks for.
func (l listing[T]) page(q PageParam) (page.Page, error) {
	return page.Parse(l.name, l.parts, q.Limit, q.After)
}

// The lists of the control API.
var (
	runList = listing[train.Run]{"runs", 2, func(r train.Run) page.Key {
		return page.Key{strconv.FormatInt(r.CreatedAt.UnixMicro(), 10), r.ID}
	}}
	dataList         = listing[data.Set]{"data", 1, func(d data.Set) page.Key { return page.Key{d.Name} }}
	dataVersionList  = listing[data.Version]{"data-versions", 1, func(v data.Version) page.Key { return page.Key{strconv.Itoa(v.Number)} }}
	modelList        = listing[registry.Model]{"models", 1, func(m registry.Model) page.Key { return page.Key{m.Name} }}
	modelVersionList = listing[registry.Version]{"model-versions", 1, func(v registry.Version) page.Key { return page.Key{strconv.Itoa(v.Number)} }}
	deploymentList   = listing[serve.Deployment]{"deployments", 2, func(d serve.Deployment) page.Key { return page.Key{d.Name, d.ID} }}
	routeList        = listing[serve.Route]{"routes", 1, func(r serve.Route) page.Key { return page.Key{r.Name} }}
	priceList        = listing[serve.PriceVersion]{"prices", 2, func(v serve.PriceVersion) page.Key {
		return page.Key{strconv.FormatInt(v.At.UnixMicro(), 10), v.ID}
	}}
	providerList     = listing[provider.Provider]{"providers", 1, func(p provider.Provider) page.Key { return page.Key{p.Name} }}
	organisationList = listing[tenancy.Organisation]{"organisations", 1, func(o tenancy.Organisation) page.Key { return page.Key{o.ID} }}
	projectList      = listing[tenancy.Project]{"projects", 1, func(p tenancy.Project) page.Key { return page.Key{p.ID} }}
	memberList       = listing[tenancy.Member]{"members", 1, func(m tenancy.Member) page.Key { return page.Key{m.Email} }}
	keyList          = listing[tenancy.Key]{"keys", 1, func(k tenancy.Key) page.Key { return page.Key{k.ID} }}
	budgetList       = listing[tenancy.Budget]{"budgets", 2, func(b tenancy.Budget) page.Key { return page.Key{b.Scope, b.ID} }}
	limitList        = listing[tenancy.Limit]{"limits", 2, func(l tenancy.Limit) page.Key { return page.Key{l.Scope, l.ID} }}
	webhookList      = listing[webhook.Hook]{"webhooks", 2, func(h webhook.Hook) page.Key {
		return page.Key{strconv.FormatInt(h.CreatedAt.UnixMicro(), 10), h.ID}
	}}
	pullList = listing[pulls.Pull]{"pulls", 2, func(p pulls.Pull) page.Key {
		return page.Key{strconv.FormatInt(p.CreatedAt.UnixMicro(), 10), p.ID}
	}}
	bodyList      = listing[capture.Body]{"bodies", 1, func(b capture.Body) page.Key { return page.Key{b.Request} }}
	requestList   = listing[reqlog.Row]{"requests", 1, func(r reqlog.Row) page.Key { return page.Key{r.Request} }}
	marginList    = listing[meter.Row]{"margin", 1, func(r meter.Row) page.Key { return page.Key{r.Name} }}
	chipPriceList = listing[meter.ChipPrice]{"chip-prices", 1, func(p meter.ChipPrice) page.Key { return page.Key{p.Chip} }}
	usageList     = listing[meter.Row]{"usage", 1, func(r meter.Row) page.Key { return page.Key{r.Name} }}
)

// paged answers with a page of a list. It asks for one item more than it shows: that tells whether there is another
// page.
func paged[T, U any](l listing[T], q PageParam, show func(T) U, get func(page.Page) ([]T, error)) (*out[api.List[U]], error) {
	p, err := l.page(q)
	if err != nil {
		return nil, err
	}
	most := p.Limit
	p.Limit++
	items, err := get(p)
	if err != nil {
		return nil, err
	}
	next := ""
	if len(items) > most {
		items = items[:most]
		next = page.Cursor(l.name, l.key(items[most-1]))
	}
	o := list(items, show)
	o.Body.Next = next
	return o, nil
}
