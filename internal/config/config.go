// Package config loads a configuration struct from four places, each overruling the one before: the defaults
// already in the struct, a YAML file, the environment, and flags; and remembers where each value came from.
//
// It knows no setting itself. A field takes part if it has a `config:"name"` tag; nested structs with a tag join
// their names by dots (`log.level`). The environment variable is TRIARCH_ and the name in capitals with dots
// as underscores, unless an `env:"NAME"` tag says otherwise. `help:"..."` describes the field. Field types:
// string, bool, int, int64, float64, time.Duration and []string. Unknown keys, in the file or among variables
// that begin with TRIARCH_, are errors: a misspelt setting must not be silently ignored.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Origin says where a value came from: "default", "file PATH", "env NAME" or "flag --name".
type Origin string

// Setting is one value as `config show` prints it.
type Setting struct {
	Name   string `json:"name"`
	Env    string `json:"env"`
	Value  string `json:"value"`
	Origin Origin `json:"origin"`
	Help   string `json:"help"`
	Secret bool   `json:"secret,omitempty"`
}

// Sources is what Load reads besides the struct's defaults. A zero Sources loads the defaults alone.
type Sources struct {
	File      string            // YAML file; empty means none
	MustExist bool              // an absent File is an error
	Env       []string          // "NAME=value", as os.Environ gives them
	KnownEnv  []string          // TRIARCH_ variables that others read (clients), not errors here
	Flags     map[string]string // name -> value as given on the command line
}

type field struct {
	name, env, help string
	secret          bool
	v               reflect.Value
}

// Load fills the struct that ptr points to and returns its settings, sorted by name. Errors are fault.Invalid
// with the setting's name as field.
func Load(ptr any, src Sources) ([]Setting, error) {
	fields := collect(reflect.ValueOf(ptr).Elem(), "")
	origin := make(map[string]Origin, len(fields))
	byName := make(map[string]*field, len(fields))
	byEnv := make(map[string]*field, len(fields))
	for i := range fields {
		f := &fields[i]
		byName[f.name], byEnv[f.env], origin[f.name] = f, f, "default"
	}
	if err := loadFile(src, byName, origin); err != nil {
		return nil, err
	}
	if err := loadEnv(src, byEnv, origin); err != nil {
		return nil, err
	}
	for name, value := range src.Flags {
		f, ok := byName[name]
		if !ok {
			return nil, fault.InvalidField(name, "there is no setting %q", name)
		}
		if err := set(f, value); err != nil {
			return nil, err
		}
		origin[name] = Origin("flag --" + strings.ReplaceAll(name, ".", "-"))
	}
	return settings(fields, origin), nil
}

func settings(fields []field, origin map[string]Origin) []Setting {
	out := make([]Setting, 0, len(fields))
	for _, f := range fields {
		s := Setting{Name: f.name, Env: f.env, Value: show(f.v), Origin: origin[f.name], Help: f.help, Secret: f.secret}
		if f.secret && s.Value != "" {
			s.Value = "(hidden)"
		}
		out = append(out, s)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func collect(v reflect.Value, prefix string) []field {
	var out []field
	for i := range v.NumField() {
		tag, ok := v.Type().Field(i).Tag.Lookup("config")
		if !ok {
			continue
		}
		name := prefix + tag
		if v.Field(i).Kind() == reflect.Struct {
			out = append(out, collect(v.Field(i), name+".")...)
			continue
		}
		t := v.Type().Field(i).Tag
		env := t.Get("env")
		if env == "" {
			env = "TRIARCH_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(name))
		}
		out = append(out, field{name: name, env: env, help: t.Get("help"), secret: t.Get("secret") == "true", v: v.Field(i)})
	}
	return out
}

func loadFile(src Sources, byName map[string]*field, origin map[string]Origin) error {
	if src.File == "" {
		return nil
	}
	text, err := os.ReadFile(src.File)
	if errors.Is(err, fs.ErrNotExist) && !src.MustExist {
		return nil
	}
	if err != nil {
		return fault.New(fault.Invalid, "The configuration file "+src.File+" cannot be read.", fault.Field("config"), fault.Cause(err))
	}
	var doc map[string]any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return fault.New(fault.Invalid, "The configuration file "+src.File+" is not YAML: "+err.Error()+".", fault.Field("config"))
	}
	return walk(doc, "", func(name string, value string) error {
		f, ok := byName[name]
		if !ok {
			return fault.New(fault.Invalid, fmt.Sprintf("The configuration file %s has the unknown key %q.", src.File, name),
				fault.Field(name), fault.Fix("Remove it; `triarch config show` lists the known ones"))
		}
		origin[name] = Origin("file " + src.File)
		return set(f, value)
	})
}

func walk(doc map[string]any, prefix string, visit func(name, value string) error) error {
	keys := make([]string, 0, len(doc))
	for k := range doc {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		var err error
		switch v := doc[k].(type) {
		case map[string]any:
			err = walk(v, prefix+k+".", visit)
		case []any:
			parts := make([]string, len(v))
			for i := range v {
				parts[i] = fmt.Sprint(v[i])
			}
			err = visit(prefix+k, strings.Join(parts, ","))
		case nil:
			err = visit(prefix+k, "")
		default:
			err = visit(prefix+k, fmt.Sprint(v))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func loadEnv(src Sources, byEnv map[string]*field, origin map[string]Origin) error {
	known := make(map[string]bool, len(src.KnownEnv))
	for _, k := range src.KnownEnv {
		known[k] = true
	}
	for _, kv := range src.Env {
		name, value, _ := strings.Cut(kv, "=")
		f, ok := byEnv[name]
		if !ok {
			if strings.HasPrefix(name, "TRIARCH_") && !known[name] {
				return fault.New(fault.Invalid, "The environment has the unknown variable "+name+".",
					fault.Field(name), fault.Fix("Unset it; `triarch config show` lists the known ones"))
			}
			continue
		}
		if err := set(f, value); err != nil {
			return err
		}
		origin[f.name] = Origin("env " + name)
	}
	return nil
}

func set(f *field, value string) error {
	bad := func(want string) error {
		return fault.InvalidField(f.name, "%s must be %s, got %q", f.name, want, value)
	}
	switch f.v.Interface().(type) {
	case string:
		f.v.SetString(value)
	case bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return bad("true or false")
		}
		f.v.SetBool(b)
	case int, int64:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || f.v.OverflowInt(n) {
			return bad("a whole number")
		}
		f.v.SetInt(n)
	case float64:
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return bad("a number")
		}
		f.v.SetFloat(n)
	case time.Duration:
		d, err := time.ParseDuration(value)
		if err != nil {
			return bad("a duration such as 30s or 5m")
		}
		f.v.SetInt(int64(d))
	case []string:
		var parts []string
		if value != "" {
			parts = strings.Split(value, ",")
		}
		f.v.Set(reflect.ValueOf(parts))
	default:
		return fmt.Errorf("config: field %s has the unsupported type %s", f.name, f.v.Type())
	}
	return nil
}

func show(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case []string:
		return strings.Join(x, ",")
	default:
		return fmt.Sprint(x)
	}
}
