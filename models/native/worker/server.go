package worker

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/native/decode"
	"github.com/triarch-ai/triarch/models/native/grammar"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
)

const (
	maxBody   = 64 << 20         // above what the gateway in front lets through, which has the limit that is configured
	bodyTime  = 30 * time.Second // to send a body
	writeTime = 90 * time.Second // to take what is written: longer than the gateway waits for its client to take it
)

// server answers requests for one model.
type server struct {
	mux    *http.ServeMux
	name   string
	secret [sha256.Size]byte
	log    *slog.Logger
	now    func() time.Time
	ids    *id.Maker
	model  atomic.Pointer[served] // nil while loading
	first  latency

	compiled latency // of forms that were not in the cache
}

// served is a loaded model.
type served struct {
	engine   *decode.Engine
	tok      *tokenizer.Tokenizer
	chat     *tokenizer.Chat
	bos      int32 // put before prompts that are text; -1 for none
	suggest  hf.Suggestion
	forms    *grammar.Cache
	maxToken int // bytes of the longest token: the fewest tokens a text can have follow from it
}

func newServed(m *hf.Model, engine *decode.Engine) *served {
	s := &served{engine: engine, tok: m.Tokenizer, chat: m.Chat, bos: beginning(m), suggest: m.Suggest, maxToken: 1,
		forms: grammar.NewCache(engine.Vocab())}
	for i := range m.Tokenizer.VocabSize() {
		s.maxToken = max(s.maxToken, len(m.Tokenizer.TokenBytes(int32(i))))
	}
	return s
}

// beginning is the token a text starts with, or -1. A model whose begin-of-sequence token also opens every turn of
// its chat form uses it for that and not for the beginning of a text.
func beginning(m *hf.Model) int32 {
	bos := int32(m.Weights.Config.BOS)
	ids, _, err := m.Chat.Render([]tokenizer.Message{{Role: "user"}, {Role: "assistant"}}, false)
	if bos < 0 || err != nil {
		return bos
	}
	n := 0
	for _, id := range ids {
		if id == bos {
			n++
		}
	}
	if n == 1 {
		return bos
	}
	return -1
}

func newServer(opt Options) *server {
	s := &server{mux: http.NewServeMux(), name: opt.ModelName, secret: sha256.Sum256([]byte(opt.Secret)), log: opt.Log,
		now: opt.Now, ids: opt.IDs}
	s.route("GET", "/health", s.health)
	s.route("GET", "/metrics", s.metrics)
	s.route("GET", "/status", s.status)
	s.route("GET", "/v1/models", s.models)
	s.route("POST", "/v1/chat/completions", s.chatCompletions)
	s.route("POST", "/v1/completions", s.completions)
	s.route("POST", "/v1/embeddings", s.embeddings)
	s.route("POST", "/tokenize", s.tokenize)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, fault.New(fault.NotFound, "There is nothing at this path.", fault.Code("unknown_url")))
	})
	return s
}

// route answers a method on a path once the model is loaded; other methods get 405.
func (s *server) route(method, path string, f func(http.ResponseWriter, *http.Request, *served) error) {
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && !(method == "GET" && r.Method == "HEAD") {
			w.Header().Set("Allow", method)
			s.refuseWith(w, http.StatusMethodNotAllowed, fault.Newf(fault.Invalid, "%s takes the method %s.", path, method))
			return
		}
		m := s.model.Load()
		if m == nil {
			s.refuse(w, errLoading)
			return
		}
		if err := f(w, r, m); err != nil {
			s.refuse(w, err)
		}
	})
}

// ServeHTTP checks the secret, then routes.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	got := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(got[:], s.secret[:]) != 1 || !ok {
		s.refuse(w, fault.New(fault.Unauthenticated, "The worker's secret is missing or wrong.", fault.Code("invalid_api_key")))
		return
	}
	if rid := r.Header.Get("X-Request-Id"); rid != "" && len(rid) <= 128 {
		w.Header().Set("X-Request-Id", rid)
	}
	s.mux.ServeHTTP(w, r)
}

func (s *server) health(w http.ResponseWriter, _ *http.Request, _ *served) error {
	return s.reply(w, map[string]string{"status": "ok"})
}

// status tells how many sequences run and wait, and how many can run at once.
func (s *server) status(w http.ResponseWriter, _ *http.Request, m *served) error {
	st := m.engine.Stats()
	return s.reply(w, struct {
		Slots   int          `json:"slots"`
		Running int          `json:"running"`
		Waiting int          `json:"waiting"`
		Decode  decode.Spent `json:"decode"` // since the replica began
		Prefill decode.Spent `json:"prefill"`
	}{m.engine.MaxSeqs(), st.Running, st.Waiting, st.Decode, st.Prefill})
}

func (s *server) models(w http.ResponseWriter, _ *http.Request, m *served) error {
	type model struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Created int64  `json:"created"`
		Owner   string `json:"owned_by"`
		Context int    `json:"max_model_len"`
	}
	return s.reply(w, map[string]any{"object": "list",
		"data": []model{{s.name, "model", s.now().Unix(), "triarch", m.engine.MaxContext()}}})
}

// tokenize counts what a request of either kind would be charged for its prompt.
func (s *server) tokenize(w http.ResponseWriter, r *http.Request, m *served) error {
	f, err := s.read(w, r)
	if err != nil {
		return err
	}
	count := 0
	if f.has("messages") {
		turns, t := f.messages(), f.tools()
		if f.err != nil {
			return f.err
		}
		ids, err := m.render(turns, t)
		if err != nil {
			return err
		}
		count = len(ids)
	} else {
		name := "prompt"
		if f.has("input") { // of embeddings
			name = "input"
		}
		for _, p := range f.texts(name, m) {
			count += len(p)
		}
	}
	if f.err != nil {
		return f.err
	}
	return s.reply(w, map[string]int{"count": count, "max_model_len": m.engine.MaxContext()})
}

// read takes the body apart into the fields of one JSON object.
func (s *server) read(w http.ResponseWriter, r *http.Request) (*fields, error) {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(s.now().Add(bodyTime)) // a writer without deadlines (tests) has none to set
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	_ = rc.SetReadDeadline(time.Time{})
	switch {
	case isBodyTooLarge(err):
		return nil, fault.Newf(fault.TooLarge, "The body is larger than %d bytes.", maxBody)
	case err != nil:
		return nil, fault.New(fault.Invalid, "The body ended before it was complete.", fault.Cause(err))
	case !utf8.Valid(body):
		return nil, fault.New(fault.Invalid, "The body is not valid UTF-8.", fault.Code("invalid_utf8"))
	}
	f := &fields{}
	if err := json.Unmarshal(body, &f.raw); err != nil || f.raw == nil {
		return nil, fault.New(fault.Invalid, "The body is not one JSON object.", fault.Code("invalid_json"), fault.Cause(err))
	}
	return f, nil
}

// reply sends v as JSON.
func (s *server) reply(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	_ = http.NewResponseController(w).SetWriteDeadline(s.now().Add(writeTime))
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		s.log.Debug("the caller went away", "err", err) // headers are sent: nothing else can be told
	}
	return nil
}

// wireError is the body of a failure in the OpenAI format.
type wireError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

func wireErrorOf(f *fault.Error, status int) wireError {
	e := wireError{Message: f.Sentence(), Type: "invalid_request_error"}
	if status >= 500 {
		e.Type = "server_error"
	}
	if f.Field != "" {
		e.Param = &f.Field
	}
	if f.Code != "" {
		e.Code = &f.Code
	}
	return e
}

// statusOf is the status of a fault. What this engine does not do is a bad request in the OpenAI format.
func statusOf(f *fault.Error) int {
	if f.Kind == fault.Unsupported {
		return http.StatusBadRequest
	}
	return fault.HTTPStatus(f.Kind)
}

func (s *server) refuse(w http.ResponseWriter, err error) {
	f := fault.As(err)
	if f.Kind == fault.Internal {
		s.log.Error("a request failed", "err", err)
	}
	s.refuseWith(w, statusOf(f), f)
}

func (s *server) refuseWith(w http.ResponseWriter, status int, f *fault.Error) {
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	_ = http.NewResponseController(w).SetWriteDeadline(s.now().Add(writeTime))
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(map[string]wireError{"error": wireErrorOf(f, status)}); err != nil {
		s.log.Debug("the caller went away", "err", err)
	}
}
