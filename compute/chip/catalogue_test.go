package chip

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/internal/fault"
)

func builtinForTest(t *testing.T) *Catalogue {
	t.Helper()
	c, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheEmbeddedCatalogue(t *testing.T) {
	c := builtinForTest(t)
	for _, make := range []string{"NVIDIA", "AMD", "Huawei", "Cambricon", "Hygon", "Moore Threads", "Iluvatar", "MetaX", "Kunlunxin", "T-Head", "Enflame", "Biren", "Intel", "Google", "Apple", "CPU"} {
		if chips, err := c.OfMake(make); err != nil || len(chips) == 0 {
			t.Errorf("%s: %v", make, err)
		}
	}
	for _, chip := range c.All() {
		for _, p := range Precisions() {
			f, ok := chip.Flops[p]
			if !ok {
				t.Errorf("%s: no key %s", chip.ID, p)
			}
			// Memory-bound work needs tens to thousands of operations a byte to turn compute-bound; a sparse figure or a
			// slip of a thousand leaves this band.
			if f != nil && chip.Bandwidth != nil {
				if r := f.Value / chip.Bandwidth.Value; r < 3 || r > 2500 {
					t.Errorf("%s %s: %.0f operations a byte", chip.ID, p, r)
				}
			}
		}
		if wide, ok := chip.Peak(BF16); ok { // narrower formats are never told slower, but where a vendor cut them
			for _, p := range []Precision{FP8, FP4} {
				if narrow, ok := chip.Peak(p); ok && narrow.Value < wide.Value {
					t.Errorf("%s: %s below bf16", chip.ID, p)
				}
			}
		}
	}
	if n := len(c.All()); n < 60 {
		t.Errorf("only %d chips", n)
	}
}

// Figures that are known by heart, so that a slip in a file is seen.
func TestWellKnownFigures(t *testing.T) {
	c := builtinForTest(t)
	for name, want := range map[string]string{
		"h100": "80 GB, 3.352 TB/s, 989 TFLOP/s, 450 GB/s, 700 W", "NVIDIA H100 80GB HBM3": "80 GB, 3.352 TB/s, 989 TFLOP/s, 450 GB/s, 700 W",
		"a100": "80 GB, 2.039 TB/s, 312 TFLOP/s, 300 GB/s, 400 W", "mi300x": "192 GB, 5.3 TB/s, 1307 TFLOP/s, 448 GB/s, 750 W",
		"tpu v5e": "16 GB, 819 GB/s, 197 TFLOP/s, 200 GB/s, -", "b200": "180 GB, 7.7 TB/s, 2250 TFLOP/s, 900 GB/s, 1000 W",
		"hygon-bw1000": "-, -, -, -, -", "Ascend910B2": "68.72 GB, 1.6 TB/s, 353.9 TFLOP/s, 196 GB/s, 400 W",
	} {
		chip, err := c.Find(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		parts := []string{told(chip.Memory), told(chip.Bandwidth), told(chip.Flops[BF16]), "-", told(chip.Power)}
		if chip.Link != nil {
			parts[3] = FormatQuantity(chip.Link.EachWay(), BytesPerSecond)
		}
		if got := strings.Join(parts, ", "); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func told(f *Figure) string {
	if f == nil {
		return "-"
	}
	return FormatQuantity(f.Value, f.Unit)
}

func TestFindNamesTheNearest(t *testing.T) {
	c := builtinForTest(t)
	for name, near := range map[string]string{"nvidia-h100-smx": "nvidia-h100-sxm", "mi30x": "mi300x", "": "", strings.Repeat("x", 1<<20): "", "b2000\xff": "b200"} {
		_, err := c.Find(name)
		if !fault.Is(err, fault.NotFound) || !strings.Contains(fault.As(err).Fix, near) || len(err.Error()) > 500 {
			t.Errorf("%.20q: %v", name, err)
		}
	}
	if _, err := c.OfMake("Nvidea"); !fault.Is(err, fault.NotFound) || !strings.Contains(fault.As(err).Fix, "nearest is NVIDIA") {
		t.Errorf("%v", err)
	}
}

// What a caller does to its chips reaches nobody else.
func TestChipsBelongToTheCaller(t *testing.T) {
	c := builtinForTest(t)
	before, _ := c.Find("h100")
	mine, _ := c.Find("h100")
	mine.Memory.Value, mine.Flops[BF16].Value, mine.Link.Value, mine.Aliases[0] = 1, 1, 1, "mine"
	mine.Flops[FP4] = mine.Memory
	after, _ := c.Find("h100")
	if d := cmp.Diff(before, after); d != "" {
		t.Error(d)
	}
}

const head = "sources: {lab: {at: our bench of May, confidence: measured}, doc: {at: https://example.org, confidence: vendor}}\n"

func TestAnOperatorsFileGoesOverFigureByFigure(t *testing.T) {
	c := builtinForTest(t)
	n, err := c.With("chips.yaml", []byte(head+`
chips:
  - id: nvidia-h100-sxm
    bandwidth: {is: 3.1 TB/s, source: lab, note: STREAM}
    flops: {bf16/fp16: {is: 800 TFLOP/s, source: doc, confidence: measured}, fp8: null}
    link: null
    aliases: [our-h100]
  - id: acme-one
    make: Acme
    name: Acme One
    kind: npu
    memory: {is: 24 GiB, source: doc}
`))
	if err != nil {
		t.Fatal(err)
	}
	h, err := n.Find("our H100")
	if err != nil {
		t.Fatal(err)
	}
	want, _ := c.Find("nvidia-h100-sxm")
	want.Bandwidth = &Figure{3.1e12, BytesPerSecond, "our bench of May", Measured, "STREAM"}
	want.Flops[BF16] = &Figure{8e14, OpsPerSecond, "https://example.org", Measured, ""}
	want.Flops[FP16], want.Flops[FP8], want.Link, want.Aliases = want.Flops[BF16], nil, nil, []string{"our-h100"}
	if d := cmp.Diff(want, h); d != "" {
		t.Error(d)
	}
	if a, err := n.Find("acme one"); err != nil || a.Memory.Value != 24<<30 || len(a.Unknown()) != 10 || a.Make != "Acme" {
		t.Errorf("%+v %v", a, err)
	}
	if _, err := c.Find("acme one"); err == nil {
		t.Error("the embedded catalogue changed")
	}
	if _, err := n.Find("h100"); err != nil && !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

func TestFilesWithAnythingWrongAreRefusedWithTheirPlace(t *testing.T) {
	c := builtinForTest(t)
	chip := func(fields string) string { return head + "chips:\n  - id: nvidia-t4\n    " + fields + "\n" }
	for name, x := range map[string]struct{ text, want string }{
		"empty":             {"", "f.yaml is empty"},
		"no yaml":           {"chips: [", "is not YAML"},
		"no mapping":        {"[1]", "must be a mapping"},
		"no chip":           {head, "names no chip"},
		"two documents":     {chip("note: x") + "---\nchips: []\n", "more than one document"},
		"unknown field":     {chip("memroy: {is: 1 GB, source: doc}"), `line 4, nvidia-t4, memroy: there is no such field; the nearest is "memory"`},
		"top field":         {"chip: []\n", `nearest is "chips"`},
		"figure's field":    {chip("memory: {is: 1 GB, source: doc, unit: GB}"), "memory.unit"},
		"twice":             {chip("note: x\n    note: y"), "given twice"},
		"chip twice":        {head + "chips: [{id: nvidia-t4}, {id: nvidia-t4}]\n", "nvidia-t4, id: the chip is given twice"},
		"negative":          {chip("memory: {is: -80 GB, source: doc}"), "nvidia-t4, memory: \"-80 GB\" is negative"},
		"nothing":           {chip("power: {is: 0 W, source: doc}"), "an unknown figure is null"},
		"absurd":            {chip("memory: {is: 80 PB, source: doc}"), "is absurd"},
		"absurdly small":    {chip("flops: {bf16: {is: 989 FLOP/s, source: doc}}"), "nvidia-t4, flops.bf16: \"989 FLOP/s\" is absurd"},
		"no unit":           {chip("memory: {is: 80, source: doc}"), "has no unit"},
		"other unit":        {chip("memory: {is: 80 GB/s, source: doc}"), "the unit of \"80 GB/s\" is not B;"},
		"no number":         {chip("memory: {is: many GB, source: doc}"), "is not a number"},
		"NaN":               {chip("memory: {is: NaN GB, source: doc}"), "is not a number"},
		"infinite":          {chip("memory: {is: Inf GB, source: doc}"), "is not a number"},
		"hexadecimal":       {chip("memory: {is: 0x10 GB, source: doc}"), "is not a number"},
		"no source":         {chip("memory: {is: 80 GB}"), "a figure without one is unknown"},
		"unknown source":    {chip("memory: {is: 80 GB, source: web}"), `"web" is not among the file's sources`},
		"source of nothing": {"sources: {x: {at: y}}\nchips: [{id: nvidia-t4}]", "sources.x"},
		"confidence":        {chip("memory: {is: 80 GB, source: doc, confidence: sure}"), "must be measured, vendor, third"},
		"precision":         {chip("flops: {bf61: {is: 1 TFLOP/s, source: doc}}"), `"bf61" is no precision`},
		"precision twice":   {chip("flops: {bf16/bf16: {is: 1 TFLOP/s, source: doc}}"), "bf16 is given twice"},
		"link's direction":  {chip("link: {is: 1 GB/s, source: doc}"), "each direction or both"},
		"bad id":            {head + "chips: [{id: NVIDIA T4}]", "is not maker-model"},
		"no id":             {head + "chips: [{name: x}]", "chips.1, id: a chip needs an id"},
		"new without make":  {head + "chips: [{id: a-b, name: x, kind: gpu}]", "a-b, make: a new chip needs it"},
		"alias of another":  {chip("aliases: [H100]"), `nvidia-t4, aliases: "h100" is a name of nvidia-h100-sxm too`},
		"resource name":     {chip("resources: [{name: 'a b', source: doc}]"), "nvidia-t4, resources.1.name"},
		"list of words":     {chip("aliases: {a: b}"), "must be a list"},
		"long":              {chip("note: " + strings.Repeat("x", 700)), "at most 600"},
		"control letters":   {chip(`note: "a\u0007b"`), "cannot be printed"},
		"anchor":            {head + "chips:\n  - &a {id: nvidia-t4}\n  - *a\n", "must be a mapping"},
		"huge":              {strings.Repeat("#", maxFile+1), "at most"},
	} {
		_, err := c.With("f.yaml", []byte(x.text))
		if err == nil || !strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), "f.yaml") {
			t.Errorf("%s: %v, want %q", name, err, x.want)
		}
		if k := fault.KindOf(err); k != fault.Invalid && k != fault.TooLarge {
			t.Errorf("%s: kind %s", name, k)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if c, err := Load(filepath.Join(dir, OverlayName)); err != nil || len(c.All()) != len(builtinForTest(t).All()) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := Load(dir); !fault.Is(err, fault.Invalid) {
		t.Errorf("a folder: %v", err)
	}
	file := filepath.Join(dir, OverlayName)
	if err := os.WriteFile(file, []byte(head+"chips: [{id: nvidia-t4, memory: null}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if chip, _ := c.Find("t4"); chip.Memory != nil || !slices.Contains(chip.Unknown(), "memory") {
		t.Errorf("%+v", chip.Memory)
	}
}

// Whatever a file holds, it is refused or yields a catalogue whose figures are all in bounds and cited.
func FuzzWith(f *testing.F) {
	for _, name := range []string{"thead", "kunlunxin", "cpu"} { // the short ones
		text, err := os.ReadFile("catalogue/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(head + "chips: [{id: a-b, make: A, name: B, kind: gpu, memory: {is: 1 GB, source: lab}, link: {is: 1 GB/s, counts: each, source: doc}}]"))
	base, err := (&Catalogue{}).With("base.yaml", []byte(head+"chips: [{id: nvidia-t4, make: NVIDIA, name: T4, kind: gpu, memory: {is: 16 GB, source: doc}}]"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := base.With("f.yaml", text)
		if err != nil {
			if k := fault.KindOf(err); k != fault.Invalid && k != fault.TooLarge {
				t.Fatalf("%s: %v", k, err)
			}
			return
		}
		for _, chip := range c.All() {
			all := []*Figure{chip.Memory, chip.Bandwidth, chip.Power}
			for _, x := range chip.Flops {
				all = append(all, x)
			}
			for _, x := range all {
				if x != nil && (x.Source == "" || x.Confidence == "" || x.Value < bounds[x.Unit][0] || x.Value > bounds[x.Unit][1]) {
					t.Fatalf("%s: %+v", chip.ID, x)
				}
			}
		}
	})
}
