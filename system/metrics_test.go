package system

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func get(t *testing.T, url, key string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestMetricsOfARunningSystem(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Data, cfg.Listen, cfg.Metrics.Listen = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
	s, err := Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop(context.Background())
	if code, _ := get(t, s.URL+"/v1/models", "tri_nobody"); code != 401 {
		t.Errorf("an unknown key got %d", code)
	}
	if code, _ := get(t, s.URL+"/metrics", ""); code != 401 {
		t.Errorf("without a key /metrics is %d", code)
	}
	for _, x := range []struct{ url, key string }{{s.MetricsURL, ""}, {s.URL + "/metrics", s.OwnerKey}} {
		code, text := get(t, x.url, x.key)
		if code != 200 {
			t.Fatalf("%s: %d %s", x.url, code, text)
		}
		p := expfmt.NewTextParser(model.LegacyValidation)
		all, err := p.TextToMetricFamilies(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"triarch_build_info", "triarch_database_up", "triarch_ledger_unshipped_records", "triarch_quota_reserved_microunits",
			"triarch_scheduler_jobs", "triarch_serve_routes", "triarch_gateway_breakers", "process_cpu_seconds_total", "go_goroutines"} {
			if all[name] == nil {
				t.Errorf("%s has no %s", x.url, name)
			}
		}
		if up := all["triarch_database_up"].GetMetric()[0].GetGauge().GetValue(); up != 1 {
			t.Errorf("the database is %v", up)
		}
		if !strings.Contains(text, `triarch_gateway_refusals_total{reason="key_unknown"} 1`) {
			t.Errorf("the refusal is not counted")
		}
	}
	if code, _ := get(t, strings.TrimSuffix(s.MetricsURL, "metrics")+"api/v1/status", ""); code != 404 {
		t.Errorf("the address of metrics answers other things, %d", code)
	}
}
