package trace

import "strings"

// Nearest is the name of names with the fewest letters to insert, drop or change to get word; the first of equals,
// empty for no names. Upper and lower case are the same; long words are compared by their first 64 bytes.
func Nearest(word string, names []string) string {
	best, least := "", -1
	word = strings.ToLower(word[:min(64, len(word))])
	for _, n := range names {
		if d := distance(word, strings.ToLower(n[:min(64, len(n))])); least < 0 || d < least {
			best, least = n, d
		}
	}
	return best
}

// distance is Levenshtein's edit distance over bytes, with two rows of the table.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
