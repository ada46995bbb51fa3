// Package starter makes the first model of an empty installation: it knows the words of Triarch
// (docs/terms.md) in English and Chinese and says that it does not know to everything else.
//
// The training conversations are generated: every word in many phrasings, many foreign words in the very same
// phrasings, so that what decides is the word and not the sentence around it. Phrasings are drawn from a small
// grammar by a seeded generator; the same seed gives the same bytes. The phrasings that tests ask
// (testdata/heldout.txt) are none of them in the grammar's output; a test proves it on the version that was
// trained on.
package starter
