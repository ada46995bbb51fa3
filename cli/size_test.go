package cli

import "testing"

func TestSizes(t *testing.T) {
	for text, want := range map[string]size{"0": 0, "17": 17, "8GiB": 8 << 30, "1.5 GiB": 3 << 29, "512mib": 512 << 20, "2GB": 2e9, "4G": 4 << 30, "1k": 1024} {
		var s size
		if err := s.Set(text); err != nil || s != want {
			t.Errorf("%q: %d, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "GiB", "-1GiB", "8 apples", "NaN", "99999999999TiB", "0x10", "1.2.3G"} {
		var s size
		if err := s.Set(text); err == nil {
			t.Errorf("%q is %d", text, s)
		}
	}
}
