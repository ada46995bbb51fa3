package system

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/amd"
	"github.com/triarch-ai/triarch/compute/chip/apple"
	"github.com/triarch-ai/triarch/compute/chip/cambricon"
	"github.com/triarch-ai/triarch/compute/chip/enflame"
	"github.com/triarch-ai/triarch/compute/chip/gaudi"
	"github.com/triarch-ai/triarch/compute/chip/huawei"
	"github.com/triarch-ai/triarch/compute/chip/hygon"
	"github.com/triarch-ai/triarch/compute/chip/iluvatar"
	"github.com/triarch-ai/triarch/compute/chip/kunlunxin"
	"github.com/triarch-ai/triarch/compute/chip/metax"
	"github.com/triarch-ai/triarch/compute/chip/moorethreads"
	"github.com/triarch-ai/triarch/compute/chip/nvidia"
	"github.com/triarch-ai/triarch/compute/chip/thead"
	"github.com/triarch-ai/triarch/compute/chip/tpu"
	"github.com/triarch-ai/triarch/compute/chip/xpu"
	"github.com/triarch-ai/triarch/compute/exec/local"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
	enginenative "github.com/triarch-ai/triarch/models/engine/native"
	"github.com/triarch-ai/triarch/models/engine/remote"
	"github.com/triarch-ai/triarch/models/provider"
	"github.com/triarch-ai/triarch/models/registry"
	registrynative "github.com/triarch-ai/triarch/models/registry/native"
	"github.com/triarch-ai/triarch/models/train"
	trainnative "github.com/triarch-ai/triarch/models/train/native"
	"github.com/triarch-ai/triarch/storage/blob"
	"github.com/triarch-ai/triarch/storage/blob/file"
)

// This file is the list of all drivers. Adding a chip, an engine or an executor is one folder and one line here.

// engines are the programs that can serve a model version, by name.
func engines() map[string]engine.Engine {
	return byName[engine.Engine](&enginenative.Driver{})
}

// chipDrivers read the vendors' own tools, in the order they are asked.
func chipDrivers() []chip.Driver {
	return []chip.Driver{nvidia.Driver{}, amd.Driver{}, huawei.Driver{}, cambricon.Driver{}, hygon.Driver{}, moorethreads.Driver{}, iluvatar.Driver{}, metax.Driver{},
		kunlunxin.Driver{}, thead.Driver{}, enflame.Driver{}, gaudi.Driver{}, xpu.Driver{}, tpu.Driver{}, apple.Driver{}}
}

// newProvider reaches a model API of somebody else, with the patience that the configuration has.
func (s *System) newProvider(u provider.Upstream) provider.Driver {
	o := remote.Options{URL: u.URL, Dialect: u.Dialect.Main(), Private: u.Private, Now: time.Now, Stall: s.Config.Limits.Silence, Total: s.Config.Limits.Answer}
	for _, k := range u.Keys {
		o.Keys = append(o.Keys, remote.Key{ID: k.ID, Secret: k.Text})
	}
	return remote.New(o)
}

// trainers are the programs that can train, by name.
func trainers() map[string]train.Trainer {
	return byName[train.Trainer](trainnative.New())
}

// worker is the body of `triarch worker NAME ATTEMPT_DIR` and the exit code for what it returned.
type worker struct {
	run  func(ctx context.Context, dir string, log *slog.Logger) error
	exit func(error) int
}

var workers = map[string]worker{
	"train": {trainnative.Work, trainnative.ExitCode},
	"serve": {enginenative.Work, fault.ExitCode},
}

func newBlobs(dir string) (blob.Store, error) { return file.Open(dir, time.Now) }

func newCodec() registry.Codec { return registrynative.Codec{} }

// newExecutor starts work on this machine: supervisors are this very program.
func newExecutor(root string, log *slog.Logger) (job.Executor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fault.Wrap(err, "finding the program's own path")
	}
	return local.New(local.Options{Root: root, Supervise: []string{self, "supervise"}, Self: self, Now: time.Now, Log: log})
}

func byName[T interface{ Name() string }](drivers ...T) map[string]T {
	m := make(map[string]T, len(drivers))
	for _, d := range drivers {
		m[d.Name()] = d
	}
	return m
}
