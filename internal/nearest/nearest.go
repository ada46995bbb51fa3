// Package nearest finds, for a word that is not known, the known one that was probably meant.
package nearest

import "strings"

// Name is the name of names with the fewest letters to insert, drop, change or swap to get word; the first of equals,
// empty for no names. Upper and lower case are the same; long words are compared by their first 64 bytes.
func Name(word string, names []string) string {
	best, least := "", -1
	word = strings.ToLower(word[:min(64, len(word))])
	for _, n := range names {
		if d := distance(word, strings.ToLower(n[:min(64, len(n))])); least < 0 || d < least {
			best, least = n, d
		}
	}
	return best
}

// distance is the optimal string alignment distance over bytes: Levenshtein's, where two neighbours that changed places
// count as one mistake. Three rows of the table are kept.
func distance(a, b string) int {
	older, old, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		older, old, row = old, row, older
		row[0] = i + 1
		for j := range len(b) {
			change := old[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, old[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], older[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
