// Package docs carries the documents the program itself needs: the words of Triarch, which the starter model
// learns and `triarch chat` explains.
package docs

import _ "embed"

// Terms is terms.md: first a Markdown table of four columns (word, meaning, 词, 含义), the key phrase of each meaning
// between ** marks; further words, which nobody learns, follow under a heading.
//
//go:embed terms.md
var Terms string
