package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
)

// The work of a program is written in one word; what cannot be read is refused with what can be.
func TestWorkOf(t *testing.T) {
	for text, want := range map[string]*api.JobWork{
		"":                  nil,
		"llama-3-8b:train":  {Model: "llama-3-8b", Task: "train"},
		"team/a:b@3:decode": {Model: "team/a:b@3", Task: "decode"},
		"m:serve,batch=32,prompt=100,answer=20,engine=vllm,precision=fp8,weights=int4": {Model: "m", Task: "serve", Batch: 32, Prompt: 100, Output: 20, Engine: "vllm",
			Precision: "fp8", Weights: "int4"},
		"m:post-train,lora=16,context=4096": {Model: "m", Task: "post-train", LoRA: 16, Context: 4096},
	} {
		got, err := workOf(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", text, d)
		}
	}
	for _, text := range []string{"llama-3-8b", ":train", "m:", "m:train,", "m:train,batch", "m:train,batch=", "m:train,batch=0", "m:train,batch=-1", "m:train,batch=1e3", "m:train,colour=red",
		"m:train,batch=1,batch=2", "m:train,batch=99999999999999999999"} {
		if _, err := workOf(text); !fault.Is(err, fault.Invalid) || !strings.Contains(fault.As(err).Fix, "MODEL:TASK") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
