package outbound

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
)

func TestPublic(t *testing.T) {
	for s := range strings.FieldsSeq(`127.0.0.1 127.9.9.9 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1
		0.0.0.0 0.1.2.3 224.0.0.1 255.255.255.255 240.0.0.1 192.0.0.192 198.18.0.1 ::1 :: fe80::1 fc00::1 fd00:ec2::254 ff02::1
		::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 2002:7f00:1:: 2001:0:7f00:1:: fec0::1 ::127.0.0.1 fe80::1%eth0`) {
		if Public(netip.MustParseAddr(s)) {
			t.Errorf("%s is taken for public", s)
		}
	}
	for s := range strings.FieldsSeq("1.1.1.1 8.8.8.8 172.32.0.1 100.128.0.1 2606:4700::1111 2a00:1450:4001::1 ::ffff:8.8.8.8") {
		if !Public(netip.MustParseAddr(s)) {
			t.Errorf("%s is taken for inner", s)
		}
	}
}

func TestDialsAreChecked(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(srv.URL, "http://"), ":")
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]"} { // a name and its addresses alike
		q, _ := http.NewRequest("GET", "http://"+host+":"+port, nil)
		_, err := New(Options{}).RoundTrip(q)
		var f *fault.Error
		if !errors.As(err, &f) || f.Code != "private_address" {
			t.Errorf("%s was dialled: %v", host, err)
		}
	}
	q, _ := http.NewRequest("GET", srv.URL, nil)
	tr := New(Options{Private: true})
	defer tr.CloseIdleConnections()
	if _, err := tr.RoundTrip(q); err != nil {
		t.Error(err)
	}
}

func TestCheckURL(t *testing.T) {
	for text, want := range map[string][2]bool{ // public, private
		"https://api.example.org":          {true, true},
		"https://api.example.org/v1":       {true, true},
		"https://api.example.org:8443/v1/": {true, true},
		"http://api.example.org":           {false, true},
		"http://127.0.0.1:8000/v1":         {false, true},
		"https://127.0.0.1":                {false, true},
		"https://[::1]:1":                  {false, true},
		"https://[fe80::1%25eth0]":         {false, true},
		"https://user:pass@example.org":    {false, false},
		"https://example.org?x=1":          {false, false},
		"https://example.org/#x":           {false, false},
		"https://example.org:0":            {false, false},
		"https://example.org:99999":        {false, false},
		"ftp://example.org":                {false, false},
		"file:///etc/passwd":               {false, false},
		"gopher://x":                       {false, false},
		"//example.org":                    {false, false},
		"https:example.org":                {false, false},
		"https://":                         {false, false},
		"":                                 {false, false},
	} {
		for i, private := range []bool{false, true} {
			if _, err := CheckURL("url", text, private); (err == nil) != want[i] {
				t.Errorf("%q, private %v: %v", text, private, err)
			}
		}
	}
}
