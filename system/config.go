package system

import (
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/compute/program"
	"github.com/triarch-ai/triarch/compute/queue"
	"github.com/triarch-ai/triarch/internal/config"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/outbound"
	"github.com/triarch-ai/triarch/models/serve"
)

// Config is everything that can be set. Defaults stand in DefaultConfig; the zero value of a field that says so
// means that Triarch decides.
type Config struct {
	Data      string   `config:"data" help:"data directory"`
	Listen    string   `config:"listen" help:"address the API listens on"`
	Public    string   `config:"public-url" help:"address of the API for other machines, as printed; empty: the certificate's name, or the address listened on"`
	Database  string   `config:"database" help:"postgres://... for PostgreSQL; empty for SQLite in the data directory" secret:"true"`
	SecretKey string   `config:"secret-key" help:"file with the key that seals secrets in the database; empty: secret.key in the data directory, made on the first start"`
	Roles     []string `config:"roles" help:"which roles this process takes: control, gateway"`
	Explained int      `config:"explained" help:"percent of the requests whose explanations are kept for a week, beside those of failures and retries"`
	Starter   bool     `config:"starter" help:"make the starter model on an empty data directory"`
	Insecure  bool     `config:"insecure" help:"listen without TLS on an address others can reach"`
	Threads   int      `config:"threads" help:"cores for work on this machine; 0: what the process may use"`
	Compute   struct {
		Capacity []string      `config:"capacity" help:"chips of this machine beside its cores, to be given out to work, such as slot=8, slot=8@node1 or slot=4+4 for two link groups"`
		Scan     time.Duration `config:"scan" help:"how often the devices of this machine are looked for and after, with their vendors' own tools; 0s: they are not, and only declared chips are given out"`
		MinRun   time.Duration `config:"min-run" help:"how long work runs at least before it makes way for other work"`
		Programs string        `config:"programs" help:"whose programs run as jobs, as the account of the control plane and beside it: owners, developers or off"`
		Round    time.Duration `config:"round" help:"how often the schedule's ranks, prices and reservations are made anew"`
	} `config:"compute"`
	TLS struct {
		Cert string `config:"cert" help:"PEM file with the certificate chain"`
		Key  string `config:"key" help:"PEM file with the private key"`
	} `config:"tls"`
	Serve struct {
		Listen string `config:"listen" help:"IP address of this machine that replicas listen on, each with a secret of its own but without TLS: gateways on other machines need one of a network that is trusted; replicas that run keep theirs"`
	} `config:"serve"`
	Log struct {
		Level  string `config:"level" help:"debug, info, warn or error"`
		Format string `config:"format" help:"text or json"`
	} `config:"log"`
	Metrics struct {
		Listen string `config:"listen" help:"loopback address, such as 127.0.0.1:9420, that answers GET /metrics without a key; empty: only the API's own address does, with a key of the scope platform"`
	} `config:"metrics"`
	Requests struct {
		Keep   time.Duration `config:"keep" help:"how long the log of the model API's requests is kept, without what they say; 0s: there is none"`
		Bodies int64         `config:"bodies" help:"most bytes that is kept of what a project's requests and answers say, where the project consents; 0: nothing is"`
	} `config:"requests"`
	Traces struct {
		Endpoint string   `config:"endpoint" help:"where OpenTelemetry traces are sent by OTLP over HTTP, such as http://127.0.0.1:4318; empty: nowhere"`
		Rate     float64  `config:"rate" help:"share of the model API's requests that are traced, 0 to 1, beside those whose caller samples"`
		Headers  []string `config:"headers" help:"headers for the endpoint, as Name=value" secret:"true"`
	} `config:"traces"`
	Limits struct {
		Body    int64         `config:"body" help:"largest body of a model API request, bytes"`
		Upload  int64         `config:"upload" help:"largest upload of data or a model, bytes"`
		Pull    int64         `config:"pull" help:"largest model that a pull brings in, bytes"`
		Streams int           `config:"streams" help:"most requests in flight at the model API"`
		Answers int64         `config:"answers" help:"most memory for the model API's answers in one piece while they are read, all together, bytes; one that finds no room is refused"`
		Drain   time.Duration `config:"drain" help:"how long open requests may go on when stopping"`
		Silence time.Duration `config:"provider-silence" help:"longest silence of a provider in the middle of an answer"`
		Answer  time.Duration `config:"provider-answer" help:"longest time for a provider's whole answer"`
	} `config:"limits"`
	Price struct {
		In  int64 `config:"in" help:"micro-units for 1,000,000 prompt tokens of a model that nobody priced"`
		Out int64 `config:"out" help:"micro-units for 1,000,000 completion tokens of a model that nobody priced"`
	} `config:"price"`
	Retention struct {
		Records int `config:"records" help:"days for which the record of each request is kept; the sums by day stay for ever; 0: for ever"`
	} `config:"retention"`
}

// DefaultConfig is the configuration of somebody who set nothing.
func DefaultConfig() Config {
	var c Config
	c.Data = DefaultData()
	c.Listen = "127.0.0.1:8420"
	c.Roles = []string{"control", "gateway"}
	c.Serve.Listen = "127.0.0.1"
	c.Starter = true
	c.Explained = 1
	c.Log.Level, c.Log.Format = "info", "text"
	c.Traces.Rate = 0.01
	c.Requests.Keep = 7 * 24 * time.Hour
	c.Requests.Bodies = 1 << 30
	c.Limits.Body, c.Limits.Upload = 4<<20, 8<<30
	c.Limits.Pull = 4 << 40
	c.Limits.Streams = 4096
	c.Limits.Answers = 512 << 20
	c.Limits.Drain = 10 * time.Second
	c.Limits.Silence, c.Limits.Answer = 5*time.Minute, time.Hour
	c.Retention.Records = 400
	c.Compute.Programs = string(program.Off)
	c.Compute.MinRun, c.Compute.Round = 10*time.Minute, time.Minute
	c.Compute.Scan = 30 * time.Second
	c.Price.In, c.Price.Out = serve.DefaultPrice.Input, serve.DefaultPrice.Output
	return c
}

// DefaultData is TRIARCH_DATA, else .triarch in the home folder.
func DefaultData() string {
	if d := os.Getenv("TRIARCH_DATA"); d != "" {
		return d
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ".triarch"
	}
	return filepath.Join(home, ".triarch")
}

// clientEnv are the TRIARCH_ variables that clients, kernels and tests read.
var clientEnv = []string{"TRIARCH_URL", "TRIARCH_KEY", "TRIARCH_KERNEL", "TRIARCH_TEST_POSTGRES", "TRIARCH_ALLOW_SKIP", "TRIARCH_KILLS", "TRIARCH_STARTER_SIZES", "TRIARCH_CONFIG"}

// LoadConfig reads the configuration: defaults, the file (DATA/config.yaml unless given), environment, flags;
// flags are by setting name. It checks every value.
func LoadConfig(file string, env []string, flags map[string]string) (Config, []config.Setting, error) {
	c := DefaultConfig()
	src := config.Sources{File: file, MustExist: file != "", Env: env, KnownEnv: clientEnv, Flags: flags}
	if file == "" {
		// The data directory decides where the file is, so it is looked up first.
		first := DefaultConfig()
		if _, err := config.Load(&first, config.Sources{Env: env, KnownEnv: clientEnv, Flags: flags}); err != nil {
			return c, nil, err
		}
		src.File = filepath.Join(first.Data, "config.yaml")
	}
	settings, err := config.Load(&c, src)
	if err != nil {
		return c, nil, err
	}
	return c, settings, c.Check()
}

// Check says what is wrong with the values, field by field.
func (c *Config) Check() error {
	if c.Data == "" {
		return fault.InvalidField("data", "The data directory is empty")
	}
	if err := c.checkListen(); err != nil {
		return err
	}
	if err := c.checkPublic(); err != nil {
		return err
	}
	if err := c.checkMetrics(); err != nil {
		return err
	}
	if err := c.checkServe(); err != nil {
		return err
	}
	if c.Requests.Bodies < 0 {
		return fault.InvalidField("requests.bodies", "requests.bodies is %d; it must not be negative", c.Requests.Bodies)
	}
	if c.Requests.Keep < 0 || c.Requests.Keep > 10*365*24*time.Hour {
		return fault.InvalidField("requests.keep", "requests.keep is %s; it must be 0s to ten years", c.Requests.Keep)
	}
	if _, err := c.exporter(); err != nil {
		return err
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		return fault.InvalidField("log.level", "log.level is %q; it must be debug, info, warn or error", c.Log.Level)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		return fault.InvalidField("log.format", "log.format is %q; it must be text or json", c.Log.Format)
	}
	if c.Retention.Records < 0 || c.Retention.Records > 100_000 {
		return fault.InvalidField("retention.records", "retention.records is %d; it must be 0 to 100000 days", c.Retention.Records)
	}
	for _, r := range c.Roles {
		if r != "control" && r != "gateway" {
			return fault.InvalidField("roles", "There is no role %q; use control, gateway or both", r)
		}
	}
	switch {
	case len(c.Roles) == 0:
		return fault.InvalidField("roles", "A process needs a role; use control, gateway or both")
	case !c.has("control") && !c.postgres():
		return fault.New(fault.Unsupported, "A gateway of its own shares its limits and its book with others, which only PostgreSQL can keep.", fault.Field("database"),
			fault.Fix("Give the control plane's database, postgres://...; on SQLite `triarch up` is the gateway, too"))
	case c.Explained < 0 || c.Explained > 100:
		return fault.InvalidField("explained", "explained is %d; it must be 0 to 100", c.Explained)
	case c.Threads < 0 || c.Threads > 4096:
		return fault.InvalidField("threads", "threads is %d; it must be 0 to 4096", c.Threads)
	case c.Limits.Body < 1024 || c.Limits.Body > 64<<20:
		return fault.InvalidField("limits.body", "limits.body is %d; it must be 1024 to %d, which engines take", c.Limits.Body, 64<<20)
	case c.Limits.Upload < 1024:
		return fault.InvalidField("limits.upload", "limits.upload is %d; it must be at least 1024", c.Limits.Upload)
	case c.Limits.Pull < 1024:
		return fault.InvalidField("limits.pull", "limits.pull is %d; it must be at least 1024", c.Limits.Pull)
	case c.Limits.Streams < 1 || c.Limits.Streams > 1<<20:
		return fault.InvalidField("limits.streams", "limits.streams is %d; it must be 1 to %d", c.Limits.Streams, 1<<20)
	case c.Limits.Answers < 1<<20 || c.Limits.Answers > 1<<44:
		return fault.InvalidField("limits.answers", "limits.answers is %d; it must be %d to %d", c.Limits.Answers, 1<<20, 1<<44)
	case c.Limits.Drain < 0 || c.Limits.Drain > time.Hour:
		return fault.InvalidField("limits.drain", "limits.drain is %s; it must be 0s to 1h", c.Limits.Drain)
	case c.Limits.Silence < time.Second || c.Limits.Silence > 24*time.Hour:
		return fault.InvalidField("limits.provider-silence", "limits.provider-silence is %s; it must be 1s to 24h", c.Limits.Silence)
	case c.Limits.Answer < time.Second || c.Limits.Answer > 24*time.Hour:
		return fault.InvalidField("limits.provider-answer", "limits.provider-answer is %s; it must be 1s to 24h", c.Limits.Answer)
	case min(c.Price.In, c.Price.Out) < 0 || max(c.Price.In, c.Price.Out) > serve.MaxPrice:
		return fault.InvalidField("price", "price.in is %d and price.out %d; they must be 0 to %d", c.Price.In, c.Price.Out, int64(serve.MaxPrice))
	case c.Compute.MinRun < 0 || c.Compute.MinRun > 24*time.Hour:
		return fault.InvalidField("compute.min-run", "compute.min-run is %s; it must be 0s to 24h", c.Compute.MinRun)
	case c.Compute.Round < time.Second || c.Compute.Round > time.Hour:
		return fault.InvalidField("compute.round", "compute.round is %s; it must be 1s to 1h", c.Compute.Round)
	case (c.TLS.Cert == "") != (c.TLS.Key == ""):
		return fault.InvalidField("tls", "tls.cert and tls.key belong together; only one is set")
	}
	if _, err := program.ParsePolicy(c.Compute.Programs); err != nil {
		return err
	}
	_, err := c.capacity("", 1)
	return err
}

// postgres says whether the database is one that several processes share.
func (c *Config) postgres() bool {
	return strings.HasPrefix(c.Database, "postgres://") || strings.HasPrefix(c.Database, "postgresql://")
}

// capacity is what this machine has to give out.
func (c *Config) capacity(node string, cores int) (queue.Capacity, error) {
	return queue.Local(node, cores, c.Compute.Capacity)
}

func (c *Config) checkListen() error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fault.New(fault.Invalid, "The address "+strconv.Quote(c.Listen)+" is not host:port.", fault.Field("listen"),
			fault.Fix("Write for example 127.0.0.1:8420"))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || (port != "0" && n == 0) {
		return fault.InvalidField("listen", "The port %q of %s is not a number from 0 to 65535", port, c.Listen)
	}
	if c.TLS.Cert != "" || c.Insecure || loopback(host) {
		return nil
	}
	return fault.New(fault.Invalid, "The address "+c.Listen+" can be reached by others and has no TLS.", fault.Field("listen"),
		fault.Fix("Give --tls-cert and --tls-key, or --insecure behind a proxy that has TLS"))
}

func (c *Config) checkMetrics() error {
	if c.Metrics.Listen == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(c.Metrics.Listen)
	if err != nil || !loopback(host) {
		return fault.New(fault.Invalid, "The address "+strconv.Quote(c.Metrics.Listen)+" is not host:port of this machine alone.", fault.Field("metrics.listen"),
			fault.Fix("Write for example 127.0.0.1:9420; from elsewhere, read /metrics of the API with a key of the scope platform"))
	}
	return nil
}

func (c *Config) checkServe() error {
	ip, err := netip.ParseAddr(c.Serve.Listen)
	switch {
	case err != nil || ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "":
		return fault.New(fault.Invalid, "The address "+strconv.Quote(c.Serve.Listen)+" is not one that others reach this machine by.", fault.Field("serve.listen"),
			fault.Fix("Write an IP address of it, such as 10.0.0.5, or 127.0.0.1 where all gateways run on this machine"))
	case outbound.Public(ip):
		return fault.New(fault.Invalid, "The address "+c.Serve.Listen+" is of the open internet, and replicas have no TLS.", fault.Field("serve.listen"),
			fault.Fix("Write an address of this machine in a private network"))
	}
	return nil
}

func (c *Config) checkPublic() error {
	if c.Public == "" {
		return nil
	}
	u, err := url.Parse(c.Public)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fault.New(fault.Invalid, "The public address "+strconv.Quote(c.Public)+" is not a URL.", fault.Field("public-url"),
			fault.Fix("Write for example https://ai.example.org"))
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// has says whether this process takes a role.
func (c *Config) has(role string) bool { return slices.Contains(c.Roles, role) }
