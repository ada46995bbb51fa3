package hub

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/ref"
)

// besides are the files that a model needs beside its weights, and those that say what it may be used for.
var besides = map[string]bool{
	"config.json": true, "generation_config.json": true, "tokenizer.json": true, "tokenizer_config.json": true, "tokenizer.model": true,
	"special_tokens_map.json": true, "added_tokens.json": true, "vocab.json": true, "vocab.txt": true, "merges.txt": true,
	"chat_template.jinja": true, "chat_template.json": true, "preprocessor_config.json": true, "processor_config.json": true,
	"sentencepiece.bpe.model": true, "spiece.model": true, "video_preprocessor_config.json": true,
	"quantize_config.json": true, "quant_config.json": true, "hf_quant_config.json": true,
	"modules.json": true, "sentence_bert_config.json": true, "config_sentence_transformers.json": true, "1_Pooling/config.json": true,
	"model.safetensors.index.json": true, "README.md": true, "LICENSE": true, "LICENSE.txt": true, "LICENSE.md": true, "NOTICE": true,
}

// Choose says which files of a list are wanted. Include takes what matches it and nothing else. Without it: what a model needs
// beside its weights, and its weights as safetensors; where there are none one GGUF file, with all its splits. Pickled weights
// are programs and come only where Include names them. Exclude takes away from either.
func Choose(files []Entry, spec Spec) ([]Entry, error) {
	var out []Entry
	switch {
	case len(spec.Include) > 0:
		out = keep(files, func(e Entry) bool { return match(spec.Include, e.Path) })
	case spec.File != "":
		weights, err := oneGGUF(files, spec.File)
		if err != nil {
			return nil, err
		}
		out = append(keep(files, func(e Entry) bool { return besides[e.Path] && e.Path != "model.safetensors.index.json" }), weights...)
	default:
		weights, err := weights(files)
		if err != nil {
			return nil, err
		}
		out = append(keep(files, func(e Entry) bool { return besides[e.Path] }), weights...)
	}
	out = keep(out, func(e Entry) bool { return !match(spec.Exclude, e.Path) })
	if len(out) == 0 {
		return nil, fault.New(fault.Invalid, "Nothing of the list is wanted.", fault.Field("include"), fault.Fix("Choose other --include and --exclude patterns."))
	}
	if err := checkPaths(out); err != nil {
		return nil, err
	}
	return out, oneNames(out)
}

// oneNames refuses files of different folders with one name, where that would lose one: the registry keeps a model's files by their
// last names, and of what is no weight the one in the top folder.
func oneNames(files []Entry) error {
	names := map[string][]string{}
	for _, f := range files {
		names[path.Base(f.Path)] = append(names[path.Base(f.Path)], f.Path)
	}
	for _, f := range files {
		base := path.Base(f.Path)
		same := names[base]
		weight := strings.HasSuffix(base, ".safetensors") || strings.HasSuffix(strings.ToLower(base), ".gguf")
		if len(same) > 1 && (weight || !slices.Contains(same, base)) {
			return fault.New(fault.Invalid, "The files "+ref.Quote(clip(same[0]))+" and "+ref.Quote(clip(same[1]))+" have one name, and a model keeps one file of a name.",
				fault.Field("include"), fault.Code("same_name"), fault.Fix("Choose one with --include or leave the other out with --exclude"))
		}
	}
	return nil
}

// weights are the safetensors of the top folder, else the only GGUF model.
func weights(files []Entry) ([]Entry, error) {
	st := keep(files, func(e Entry) bool { return strings.HasSuffix(e.Path, ".safetensors") && !strings.Contains(e.Path, "/") })
	if hf := keep(st, func(e Entry) bool { return strings.HasPrefix(e.Path, "model") }); len(hf) > 0 {
		// Some have the same weights twice, once as one program names its files and once as another does.
		st = keep(st, func(e Entry) bool { return !strings.HasPrefix(e.Path, "consolidated") })
	}
	if len(st) > 0 {
		return st, nil
	}
	if slices.ContainsFunc(files, func(e Entry) bool { return gguf(e.Path) }) {
		return oneGGUF(files, "")
	}
	for _, ending := range []string{".bin", ".pt", ".pth"} {
		if slices.ContainsFunc(files, func(e Entry) bool { return strings.HasSuffix(e.Path, ending) }) {
			return nil, fault.New(fault.Unsupported, "The model has only pickled weights (*"+ending+"), which are programs that run when they are read.",
				fault.Code("pickled"), fault.Fix("Look for a revision or another repository with safetensors, or convert them and import the folder."))
		}
	}
	return nil, fault.New(fault.Unsupported, "The list has no weights: no safetensors and no GGUF.", fault.Code("no_weights"),
		fault.Fix("Choose files with --include."))
}

func gguf(p string) bool {
	return strings.HasSuffix(strings.ToLower(p), ".gguf") && !strings.HasPrefix(strings.ToLower(path.Base(p)), "mmproj")
}

// split is how the parts of a GGUF model are named: base-00001-of-00003.gguf.
var split = regexp.MustCompile(`^(.*)-\d{5}-of-(\d{5})\.gguf$`)

// oneGGUF gives the files of the one GGUF model that want names, or of the only one.
func oneGGUF(files []Entry, want string) ([]Entry, error) {
	groups, sizes := map[string][]Entry{}, map[string]int64{}
	for _, f := range files {
		if !gguf(f.Path) {
			continue
		}
		name := f.Path
		if m := split.FindStringSubmatch(f.Path); m != nil {
			name = m[1] + ".gguf"
		}
		groups[name] = append(groups[name], f)
		sizes[name] += max(0, f.Size)
	}
	names := make([]string, 0, len(groups))
	for n := range groups {
		if want == "" || named(n, want) {
			names = append(names, n)
		}
	}
	if len(names) == 1 {
		return groups[names[0]], nil
	}
	if exact := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !strings.EqualFold(path.Base(n), want) }); len(exact) == 1 {
		return groups[exact[0]], nil
	}
	if len(names) == 0 {
		for n := range groups {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	var list []string
	for _, n := range names[:min(len(names), 40)] {
		list = append(list, fmt.Sprintf("%s (%.1f GB)", n, float64(sizes[n])/1e9))
	}
	what := "The model comes in several GGUF files"
	if want != "" {
		what = "Not exactly one GGUF file is named by " + ref.Quote(want)
	}
	return nil, fault.New(fault.Invalid, what+": "+strings.Join(list, ", ")+".", fault.Field("file"), fault.Code("several_files"),
		fault.Fix("Choose one with --file, for example --file Q4_K_M"))
}

// named says whether want is the file's name, or a word of it between dots, dashes and slashes.
func named(name, want string) bool {
	name, want = strings.ToLower(strings.TrimSuffix(name, ".gguf")), strings.ToLower(strings.TrimSuffix(want, ".gguf"))
	if ok, err := path.Match(want, path.Base(name)); err == nil && ok {
		return true
	}
	for at := 0; ; {
		i := strings.Index(name[at:], want)
		if i < 0 || want == "" {
			return false
		}
		i += at
		end := i + len(want)
		if (i == 0 || strings.ContainsRune(".-/", rune(name[i-1]))) && (end == len(name) || strings.ContainsRune(".-/", rune(name[end]))) {
			return true
		}
		at = i + 1
	}
}

func keep(files []Entry, ok func(Entry) bool) []Entry {
	var out []Entry
	for _, f := range files {
		if ok(f) {
			out = append(out, f)
		}
	}
	return out
}

// match says whether a pattern is the path's, or that of its last part.
func match(patterns []string, p string) bool {
	for _, pat := range patterns {
		if ok, _ := path.Match(pat, p); ok {
			return true
		}
		if ok, _ := path.Match(pat, path.Base(p)); ok && !strings.Contains(pat, "/") {
			return true
		}
	}
	return false
}

func patterns(list []string) error {
	for _, p := range list {
		if _, err := path.Match(p, "x"); err != nil || p == "" || len(p) > 200 {
			return fault.New(fault.Invalid, "The pattern "+ref.Quote(clip(p))+" cannot be read.", fault.Field("include"), fault.Fix("Write for example '*.safetensors'"))
		}
	}
	return nil
}
