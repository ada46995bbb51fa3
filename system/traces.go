package system

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/gateway/seen"
)

// tracesPath is where collectors take traces.
const tracesPath = "/v1/traces"

// exporter is what sends traces away as far as the configuration says; nil when nothing does.
func (c *Config) exporter() (*seen.Exporter, error) {
	if !(c.Traces.Rate >= 0 && c.Traces.Rate <= 1) {
		return nil, fault.InvalidField("traces.rate", "traces.rate is %v; it must be 0 to 1", c.Traces.Rate)
	}
	if c.Traces.Endpoint == "" {
		return nil, nil
	}
	u, err := url.Parse(c.Traces.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fault.New(fault.Invalid, "The address for traces is not a URL.", fault.Field("traces.endpoint"), fault.Fix("Write for example http://127.0.0.1:4318"))
	}
	if !strings.HasSuffix(u.Path, tracesPath) {
		u = u.JoinPath(tracesPath)
	}
	e := &seen.Exporter{URL: u.String(), Headers: map[string]string{}, Service: "triarch", Version: Version, Client: &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConns: 2, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
			TLSHandshakeTimeout: 5 * time.Second, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	for _, h := range c.Traces.Headers {
		name, value, ok := strings.Cut(h, "=")
		if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(h, "\r\n") {
			return nil, fault.New(fault.Invalid, "A header for traces is not Name=value.", fault.Field("traces.headers"), fault.Fix("Write for example Authorization=Bearer x"))
		}
		e.Headers[name] = strings.TrimSpace(value)
	}
	return e, nil
}
