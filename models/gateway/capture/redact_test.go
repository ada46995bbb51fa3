package capture

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestTexts(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"write to Ann.O'Neil+x@mail.example.co.uk, please", "write to [email], please"},
		{"邮箱zhang@example.cn。", "邮箱[email]。"},
		{"a@b is no address, nor @home", "a@b is no address, nor @home"},
		{"card 4111 1111 1111 1111 until 12/29", "card [card] until 12/29"},
		{"order 4111 1111 1111 1112", "order 4111 1111 1111 1112"},
		{"to DE89 3704 0044 0532 0130 00 now", "to [iban] now"},
		{"to DE88 3704 0044 0532 0130 00 now", "to DE88 3704 0044 0532 0130 00 now"},
		{"号码11010519491231002X的人", "号码[person]的人"},
		{"11010519491231002Y and 110105194912310021", "11010519491231002Y and 110105194912310021"},
		{"ssn 123-45-6789, not 666-45-678", "ssn [person], not [phone]"},
		{"from 203.0.113.9 and 2001:db8::7 to 127.0.0.1 and ::1", "from [ip] and [ip] to 127.0.0.1 and ::1"},
		{"version 1.2.3.4567 at 12:30:45", "version 1.2.3.4567 at 12:30:45"},
		{"call +49 (0)30 901820 or 555-123-4567 or 13812345678", "call [phone] or [phone] or [phone]"},
		{"on 2026-11-22 and 22.11.2026, 100-200", "on 2026-11-22 and 22.11.2026, 100-200"},
		{"key sk-proj-abcdefghijklmnop1234 and ghp_abcdefghijklmnopqrstuv and AKIAIOSFODNN7EXAMPLE", "key [secret] and [secret] and [secret]"},
		{"Authorization: Bearer abcdefghijklmnop.qrstuv", "Authorization: [secret]"},
		{"postgres://me:hunter22@db/x", "[secret]db/x"},
		{"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nafter", "[secret]\nafter"},
		{"-----BEGIN PRIVATE KEY-----\nMIIE cut", "[secret]"},
		{"see data:image/png;base64,iVBORw0KGgo= here", "see [media of 34 characters] here"},
		{"nothing to see: 42, 3.14, v2", "nothing to see: 42, 3.14, v2"},
	} {
		if got := Text(c.in, Classes, map[Class]int{}); got != c.want {
			t.Errorf("%q:\n got %q\nwant %q", c.in, got, c.want)
		}
	}
	one := "ann@example.org at 203.0.113.9"
	if got := Text(one, []Class{IP}, map[Class]int{}); got != "ann@example.org at [ip]" {
		t.Error("what was not asked for went, or what was stayed:", got)
	}
}

func TestJSONKeepsItsForm(t *testing.T) {
	file := strings.Repeat("QUJD", 200)
	in := `{ "n" : 1.50, "a@b.org":"x <b> \"ann@example.org\" 中", "list":["\u0061nn@example.org",null,true], "file":"` + file + `" }`
	found := map[Class]int{}
	got, err := JSON([]byte(in), Classes, found)
	want := `{ "n" : 1.50, "[email]":"x <b> \"[email]\" 中", "list":["[email]",null,true], "file":"[media of 800 characters]" }`
	if err != nil || string(got) != want {
		t.Fatalf("got %s, %v\nwant %s", got, err, want)
	}
	if d := cmp.Diff(map[Class]int{Email: 3, Media: 1}, found); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"", "{", `{"a":"b`, "text", `{"a":1}{`} {
		if _, err := JSON([]byte(bad), Classes, found); err == nil {
			t.Errorf("%q was taken for JSON", bad)
		}
	}
	if got, err := JSON([]byte(in), nil, found); err != nil || string(got) != in {
		t.Errorf("without classes it became %s, %v", got, err)
	}
}

// Whatever stands around it, an address of mail never stays, and what is JSON stays JSON.
func TestNoAddressStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		local := rapid.StringMatching(`[a-z][a-z0-9.]{0,10}[a-z]`).Draw(t, "local")
		address := local + "@" + rapid.StringMatching(`[a-z]{1,10}\.(com|org|cn)`).Draw(t, "domain")
		around := rapid.SliceOfN(rapid.SampledFrom([]string{" ", "\n", "<", ">", `"`, `\`, "，", "。", "(", ")", ":", "mail", "中文", "\u2028", "\x00", "🙂"}), 0, 12)
		text := strings.Join(around.Draw(t, "before"), "") + " " + address + " " + strings.Join(around.Draw(t, "after"), "")
		in, err := json.Marshal(map[string]any{"messages": []any{map[string]any{"content": text}}, "n": 3})
		if err != nil {
			t.Fatal(err)
		}
		found := map[Class]int{}
		out, err := JSON(in, Classes, found)
		if err != nil || !json.Valid(out) {
			t.Fatalf("%s became %s, %v", in, out, err)
		}
		if strings.Contains(string(out), address) || found[Email] == 0 {
			t.Fatalf("%s stayed in %s", address, out)
		}
	})
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":"b@c.de"}`, `["\\","\"",""]`, `"\ud800"`, `{"x":"data:a/b;base64,"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		found := map[Class]int{}
		out, err := JSON(in, Classes, found)
		if err != nil {
			if json.Valid(in) {
				t.Fatal(err)
			}
			return
		}
		if !json.Valid(out) {
			t.Fatalf("%q became %q", in, out)
		}
		if len(slices.Collect(maps.Keys(found))) == 0 && string(out) != string(in) {
			t.Fatalf("%q became %q though nothing was found", in, out)
		}
	})
}
