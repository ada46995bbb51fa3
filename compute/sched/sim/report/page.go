package report

import (
	"html/template"
	"io"
)

// colours is how many policies have a colour of their own.
const colours = 9

// Style is how pages of figures look, by day and by night: c0 to c8 are the colours of lines and of legends.
const Style = `:root{--bg:#fff;--fg:#1c2024;--dim:#5c6670;--grid:#e3e7eb;--box:#f6f8fa;--c0:#1f6feb;--c1:#d1480a;--c2:#1a7f37;--c3:#8250df;--c4:#9a6700;--c5:#0a7d8c;--c6:#bf3989;--c7:#57606a;--c8:#7a3e12}
@media (prefers-color-scheme:dark){:root{--bg:#14171a;--fg:#e6e9ec;--dim:#9aa4ae;--grid:#2b3138;--box:#1b1f24;--c0:#58a6ff;--c1:#ff8a4c;--c2:#56d364;--c3:#bc8cff;--c4:#e3b341;--c5:#4dd0e1;--c6:#f778ba;--c7:#a8b1bb;--c8:#d8a37a}}
body{margin:2rem auto;max-width:76rem;padding:0 1rem;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p{color:var(--dim);margin:.25rem 0}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:1rem}
figure{margin:0;padding:.75rem;background:var(--box);border-radius:8px}figcaption b{display:block}figcaption{color:var(--dim);font-size:.85rem;margin-bottom:.25rem}figcaption b{color:var(--fg);font-size:1rem}
svg{width:100%;height:auto;display:block}svg text{font-size:12px;fill:var(--dim)}.grid{stroke:var(--grid);stroke-width:1}polyline{fill:none;stroke-width:2;stroke-linejoin:round}
.c0{stroke:var(--c0);background:var(--c0)}.c1{stroke:var(--c1);background:var(--c1)}.c2{stroke:var(--c2);background:var(--c2)}.c3{stroke:var(--c3);background:var(--c3)}.c4{stroke:var(--c4);background:var(--c4)}.c5{stroke:var(--c5);background:var(--c5)}.c6{stroke:var(--c6);background:var(--c6)}.c7{stroke:var(--c7);background:var(--c7)}.c8{stroke:var(--c8);background:var(--c8)}
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin:1rem 0}.legend i{display:inline-block;width:1.4em;height:.3em;border-radius:2px;margin-right:.45em;vertical-align:middle}
.wide{overflow-x:auto;margin-bottom:1rem}table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.3rem .8rem;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap;vertical-align:bottom}th{white-space:normal}th:first-child,td:first-child{text-align:left}`

// Page writes the summaries as one HTML page that needs nothing else: plots as SVG, styles inside, no script.
func Page(w io.Writer, title, about string, runs []*Summary) error {
	heads, rows := Table(runs)
	var names []legend
	for i, r := range runs {
		names = append(names, legend{r.Policy, i % colours})
	}
	return page.Execute(w, map[string]any{
		"Style": template.CSS(Style), "Title": title, "About": about, "Names": names, "Heads": heads, "Rows": rows, "Sites": SiteTables(runs),
		"Refusals": refusals(runs), "Plots": []plot{
			cumulative("Completion", "Submission to end. Further left is better.", "completion time", runs, func(s *Summary) []float64 { return s.curves.completion }),
			cumulative("Queueing", "Completion minus duration; below 10 s counts as 10 s.", "queueing time", runs, func(s *Summary) []float64 { return s.curves.queue }),
			overTime("Chips in use", "Mean over equal stretches, in percent of the fleet.", "% of chips", runs, func(s *Summary, i int) float64 {
				return percent(s.curves.series[i].Busy, float64(s.curves.chips))
			}),
			overTime("Jobs waiting", "Mean over equal stretches.", "jobs", runs, func(s *Summary, i int) float64 { return s.curves.series[i].Waiting }),
		},
	})
}

type legend struct {
	Name   string
	Colour int
}

type refusal struct {
	Why  string
	Jobs int
}

// refusals are those of the first run; they depend on trace and fleet alone.
func refusals(runs []*Summary) []refusal {
	var out []refusal
	if len(runs) > 0 {
		for _, why := range sortedKeys(runs[0].Refusals) {
			out = append(out, refusal{why, runs[0].Refusals[why]})
		}
	}
	return out
}

var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{{.Title}}</title>
<style>
{{.Style}}
</style></head><body>
<h1>{{.Title}}</h1><p>{{.About}}</p>
<div class="legend">{{range .Names}}<span><i class="c{{.Colour}}"></i>{{.Name}}</span>{{end}}</div>
<div class="plots">{{range .Plots}}<figure><figcaption><b>{{.Title}}</b>{{.Note}}</figcaption>{{.SVG}}</figure>{{end}}</div>
<h2>Figures</h2><div class="wide"><table><thead><tr>{{range .Heads}}<th>{{.}}</th>{{end}}</tr></thead><tbody>
{{range .Rows}}<tr>{{range .}}<td>{{.}}</td>{{end}}</tr>
{{end}}</tbody></table></div>
{{if .Sites}}<h2>Sites</h2>{{range .Sites}}<div class="wide"><table><thead><tr>{{range .Headings}}<th>{{.}}</th>{{end}}</tr></thead><tbody>
{{range .Rows}}<tr>{{range .}}<td>{{.}}</td>{{end}}</tr>
{{end}}</tbody></table></div>{{end}}{{end}}
{{if .Refusals}}<h2>Refused</h2><ul>{{range .Refusals}}<li>{{.Jobs}} jobs: {{.Why}}</li>{{end}}</ul>{{end}}
</body></html>
`))
