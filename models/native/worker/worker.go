// Package worker serves one model folder over HTTP in the OpenAI wire format, for the gateway in front of it: health,
// metrics, models, chat and text completions, embeddings, and exact token counts.
//
// Rules for callers: the listener is on one address of this machine, the loopback interface's unless told otherwise, and every
// path demands the bearer secret, which no TLS hides: an address that others reach belongs into a network that is trusted. A request
// may name any model; the answer repeats the name. Callers of different X-Cache-Scope headers share nothing in the cache.
// Prompts of /v1/completions that are text begin with the model's begin-of-sequence token, where it has one. Cancelling the context of Serve drains: live answers get the grace
// period to end.
//
// Streams are server-sent events with one addition. Before each data event, and instead of one for a step whose text
// is still held back, stands a comment line
//
//	: t PROMPT COMPLETION
//
// with the tokens of the answer up to here: of the prompts, and of all choices together, held-back ones included. The
// first line of every stream is such a comment with COMPLETION 0. Wherever a stream is cut, its last comment says what
// was generated for it; clients skip comments. Headers are sent with the first token, so a failure before it has a
// status of its own.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/native/decode"
	"github.com/triarch-ai/triarch/models/native/hf"
)

// Options of Serve. The zero value of each field takes the default beside it, where there is one.
type Options struct {
	Dir        string            // required: Hugging Face folder of the model
	ListenAddr string            // 127.0.0.1:0: IP address and port
	Secret     string            // required: bearer secret of every request
	Threads    int               // as many as the machine gives: goroutines that compute
	MaxContext int               // the model's: longest prompt and answer together, tokens
	KVBytes    int64             // decode.Options has it: memory of the key-value cache
	ModelName  string            // the folder's name: what /v1/models announces
	Grace      time.Duration     // 30 s: how long live answers may go on after ctx is done
	OnReady    func(addr string) // called once requests are answered, with the address listened on
	Log        *slog.Logger      // discards
	Now        func() time.Time  // time.Now
	IDs        *id.Maker         // id.Default()
}

func (o *Options) complete() error {
	if o.Dir == "" {
		return fault.InvalidField("dir", "The worker needs the folder of a model.")
	}
	if o.Secret == "" {
		return fault.InvalidField("secret", "The worker needs a secret.")
	}
	if o.ListenAddr == "" {
		o.ListenAddr = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(o.ListenAddr)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || ip.IsUnspecified() || ip.IsMulticast()) {
		return fault.InvalidField("listen_addr", "%.60q is not one address of this machine, such as 127.0.0.1:0.", o.ListenAddr)
	}
	if o.ModelName == "" {
		o.ModelName = filepath.Base(o.Dir)
	}
	if o.Grace == 0 {
		o.Grace = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.IDs == nil {
		o.IDs = id.Default()
	}
	return nil
}

// Serve loads the model and answers requests until ctx is done; then it refuses new ones, lets live ones end within
// the grace period, cuts the rest and returns nil. It returns a fault when it cannot start or the listener breaks.
func Serve(ctx context.Context, opt Options) error {
	// 1. Listen first: a caller that knows the port sees "loading" instead of a refused connection.
	if err := opt.complete(); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", opt.ListenAddr)
	if err != nil {
		return fault.New(fault.Unavailable, "The worker cannot listen on "+opt.ListenAddr+".", fault.Cause(err))
	}
	h := newServer(opt)
	web := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(opt.Log.Handler(), slog.LevelWarn)}
	broken := make(chan error, 1)
	go func() { broken <- web.Serve(ln) }()
	defer web.Close()

	// 2. Load.
	loaded := make(chan error, 1)
	go func() { loaded <- h.load(opt) }()
	select {
	case err := <-loaded:
		if err != nil {
			return err
		}
	case err := <-broken:
		return fault.Wrap(err, "listening")
	case <-ctx.Done():
		return nil
	}
	m := h.model.Load()
	defer m.engine.Close()

	// 3. Serve.
	opt.Log.Info("serving", "model", opt.ModelName, "addr", ln.Addr().String(), "context", m.engine.MaxContext())
	if opt.OnReady != nil {
		opt.OnReady(ln.Addr().String())
	}
	select {
	case err := <-broken:
		return fault.Wrap(err, "listening")
	case <-ctx.Done():
	}

	// 4. Drain: the listener closes, the engine refuses what still comes over open connections, live answers go on.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), opt.Grace)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- m.engine.Drain(grace) }()
	if err := errors.Join(web.Shutdown(grace), <-drained); err == nil {
		return nil
	}
	opt.Log.Warn("the grace period is over; live answers are cut", "grace", opt.Grace)
	return nil
}

// load reads the model and starts its engine.
func (s *server) load(opt Options) error {
	m, err := hf.Read(opt.Dir)
	if err != nil {
		return err
	}
	engine, err := decode.New(m.Weights, decode.Options{Threads: opt.Threads, MaxContext: opt.MaxContext, KVBytes: opt.KVBytes,
		EndIDs: m.Stop, TokenBytes: m.Tokenizer.TokenBytes})
	if err != nil {
		return fmt.Errorf("starting the engine: %w", err)
	}
	s.model.Store(newServed(m, engine))
	return nil
}

var errLoading = fault.New(fault.Unavailable, "The model is still being loaded.", fault.Code("loading"), fault.Fix("Try again in a moment."))

// isBodyTooLarge says whether reading a body stopped at its limit.
func isBodyTooLarge(err error) bool {
	var tooLarge *http.MaxBytesError
	return errors.As(err, &tooLarge)
}
