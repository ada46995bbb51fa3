package native_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/engine/enginetest"
	"github.com/triarch-ai/triarch/models/engine/native"
	"github.com/triarch-ai/triarch/test/pacedengine"
)

func TestSuite(t *testing.T) {
	enginetest.Run(t, enginetest.Harness{Engine: &native.Driver{}, Start: start})
}

func start(t *testing.T, b enginetest.Behaviour) enginetest.Program {
	e := &pacedengine.Engine{Options: pacedengine.Options{Tokens: b.Tokens, Pace: b.Pace, Break: b.Break, Secret: "secret"}}
	srv := httptest.NewServer(e)
	srv.Config.ErrorLog = nil
	t.Cleanup(srv.Close)
	return enginetest.Program{
		Endpoint:  engine.Endpoint{Replica: "rep_1", Addr: strings.TrimPrefix(srv.URL, "http://"), Secret: "secret"},
		Generated: e.Generated.Load, Running: e.Running.Load,
	}
}

func TestCommandHidesNothingInArgv(t *testing.T) {
	d := &native.Driver{}
	c, err := d.Command(engine.Spec{ModelDir: "/models/m", ModelName: "m", Threads: 2, MaxContext: 512})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Argv, " "); got != "{self} worker serve {attempt}" {
		t.Errorf("argv %q", got)
	}
	var spec map[string]any
	if err := json.Unmarshal(c.Files["serve.json"], &spec); err != nil || spec["model_dir"] != "/models/m" || spec["max_context"] != 512.0 {
		t.Errorf("spec %v, %v", spec, err)
	}
	if _, err := d.Command(engine.Spec{}); err == nil {
		t.Error("a replica without a model was rendered")
	}
}
