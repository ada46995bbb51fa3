package nearest

import "testing"

func TestName(t *testing.T) {
	for word, want := range map[string]string{"a10": "a100", "h1000": "h100", "": "t4", "V100": "a100"} {
		if got := Name(word, []string{"a100", "h100", "t4"}); got != want {
			t.Errorf("%s: %s", word, got)
		}
	}
	for pair, want := range map[[2]string]int{{"kitten", "sitting"}: 3, {"", "abc"}: 3, {"srfs", "srsf"}: 1, {"ca", "abc"}: 3, {"same", "same"}: 0} {
		if got := distance(pair[0], pair[1]); got != want || distance(pair[1], pair[0]) != want {
			t.Errorf("%v: %d, want %d", pair, got, want)
		}
	}
	if Name("x", nil) != "" {
		t.Error("nearest of nothing")
	}
}
