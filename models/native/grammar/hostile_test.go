package grammar

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// hostile are sources that are small and ask for much.
func hostile() map[string]string {
	list := func(n int, f func(i int) string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = f(i)
		}
		return strings.Join(parts, ",")
	}
	return map[string]string{
		"many properties":  `{"type":"object","properties":{` + list(3000, func(i int) string { return fmt.Sprintf(`"p%d":{"type":"string"}`, i) }) + `}}`,
		"unions of unions": `{"allOf":[` + list(12, func(i int) string { return `{"anyOf":[{"minLength":1},{"maxLength":9},{"type":"string"},{}]}` }) + `]}`,
		"long enumeration": `{"enum":[` + list(20000, func(i int) string { return fmt.Sprintf(`"value %d"`, i) }) + `]}`,
		"huge counts":      `{"type":"array","items":{"type":"array","items":{"type":"string","minLength":900000000},"minItems":900000000},"minItems":900000000}`,
		"wide patterns": `{"type":"object","properties":{` + list(300, func(i int) string {
			return fmt.Sprintf(`"p%d":{"type":"string","pattern":"^(\\pL{1,%d}|[^a-f]{2,9})$"}`, i, 1+i%90)
		}) + `}}`,
		"exploding pattern": `{"type":"string","pattern":"(a|b)*a(a|b){30}"}`,
		"long minimum":      `{"type":"object","properties":{"a":{"type":"string","minLength":60000},"b":{"type":"string"}},"required":["a"]}`,
		"ambiguous items": `{"type":"array","items":{"anyOf":[` + list(100, func(i int) string {
			return fmt.Sprintf(`{"type":"array","items":{"type":["string","integer"],"maxLength":%d}}`, i+1)
		}) + `]}}`,
		"mutual recursion": `{"$ref":"#/$defs/d0","$defs":{` + list(200, func(i int) string {
			return fmt.Sprintf(`"d%d":{"anyOf":[{"type":"null"},{"type":"array","items":{"$ref":"#/$defs/d%d"}},{"type":"object","additionalProperties":{"$ref":"#/$defs/d%d"}}]}`, i, (i+1)%200, (i*7)%200)
		}) + `}}`,
		"chain of all": `{"$ref":"#/$defs/d0","$defs":{` + list(300, func(i int) string {
			return fmt.Sprintf(`"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]}`, i, i+1, i+2)
		}) + `,"d300":{},"d301":{}}}`,
		"patterns and count": `{"type":"string","pattern":"^([a-z]{1,90}-){1,9}$","minLength":3,"maxLength":5000}`,
	}
}

// TestHostileSources compiles and samples what is small and asks for much: a source is refused or it works, and what it
// keeps is bounded. The log has the times.
func TestHostileSources(t *testing.T) {
	list, v := words()
	for name, src := range hostile() {
		begin := time.Now()
		g, err := JSONSchema([]byte(src))
		t.Logf("%s: %d bytes, compiled in %v, refused: %v", name, len(src), time.Since(begin), err)
		if err != nil {
			continue
		}
		a, err := New(g, v)
		if err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(3) {
			rng := rand.New(rand.NewPCG(seed, 9))
			if a.Least() < 5000 {
				sample(t, a, list, a.Least()+rng.IntN(100), rng)
			}
		}
		t.Logf("%s: least %d, %d states, sampled after %v, %d KiB kept", name, a.Least(), len(g.states), time.Since(begin), a.size>>10)
		if a.size > 2*keepBytes {
			t.Errorf("%s: %d bytes are kept", name, a.size)
		}
	}
}
