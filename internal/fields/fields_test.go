package fields

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// What is wrong is told with its line and its field, and the first of two things wins.
func TestWrong(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"a: 1\nb: two\n", ""},
		{"a: 1\nc: 2\n", `f line 2, c: there is no such field; the nearest is "a".`},
		{"a: 1\na: 2\n", "f line 2, a: it is given twice."},
		{"a: [1]\n", "f line 1, a: it must be a single value."},
		{"a:\n", "f line 1, a: it is missing or empty."},
		{"a: " + strings.Repeat("x", 201), "f line 1, a: it is longer than 200 bytes."},
		{"- 1\n", "f line 1: it must be a mapping of fields."},
		{"? [x]\n: 1\n", "f line 1: a field's name must be a word."},
		{"a: &x 1\nb: *x\n", "f line 1: it must be one mapping, without anchors and aliases."},
		{"a: 1\n---\na: 2\n", "f: it has more than one document."},
		{"l: {}\n", "f line 1, l: it must be a list."},
		{"l: [1, 2, 3]\n", "f line 1, l: it has 3 elements; at most 2 are allowed."},
		{"l: [1, {}]\n", "f line 1, l[1]: no number."},
		{"a: {}\nb: {}\n", "f line 1, a: it must be a single value."},
	} {
		r, top, err := Read(strings.NewReader(c.text), "f", 1<<20)
		if err == nil {
			e := r.Entry(top, "", "a", "b", "l")
			e.Text("a")
			e.Text("b")
			e.List("l", 2, func(n *yaml.Node, path string) {
				if n.Kind != yaml.ScalarNode {
					r.Bad(n, path, "no number")
				}
			})
			err = r.Err
		}
		if got := message(err); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
	if _, _, err := Read(strings.NewReader("a: 1234"), "f", 3); err == nil {
		t.Error("a file that is too long was read")
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A mapping inside another one has its path, and its fields in their order.
func TestEntry(t *testing.T) {
	r, top, err := Read(strings.NewReader("m: {z: 1, y: 2}\n"), "f", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	e := r.Entry(r.Entry(top, "").Fields["m"], "m")
	if e.At("z") != "m.z" || strings.Join(e.Order, "") != "zy" || e.Text("y") != "2" || r.Err != nil {
		t.Error(e.At("z"), e.Order, e.Text("y"), r.Err)
	}
}
