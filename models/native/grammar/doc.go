// Package grammar keeps what a model writes inside a language: a JSON schema, any JSON object, a regular expression, a
// list of choices or a grammar of rules. It says before each token which tokens may come, such that the text at the end
// is a whole document of the language whatever the model prefers, and within the number of tokens it may have.
//
// How it works:
//
//   - JSONSchema, JSONObject, Regex, Choice and Parse make a Grammar: rules over bytes that call each other, so that nesting
//     has no limit (a recursive transition network, Woods 1970). Characters are spelt in UTF-8, so a text is valid UTF-8 also
//     where a token holds a piece of a character.
//   - New joins a Grammar and the Vocab of a tokenizer to an Automaton, which is a set of stacks of return states, made
//     deterministic as it is walked, each set once.
//   - A mask is found by walking a trie of the vocabulary. What a token does within one rule is the same wherever the rule was
//     called, so it is found once for each state; only tokens that leave the rule are looked at with the stack (the split
//     of Dong et al., XGrammar, 2024).
//   - For each state the shortest text to the end of its rule is known (Knuth 1977, a generalisation of Dijkstra's algorithm), and
//     its fewest tokens; summed over the stack it bounds what an end costs. A token is allowed if the end is within the budget after it.
//
// Rules for callers: a Grammar, a Vocab and an Automaton may be shared by goroutines; a State belongs to one. What a State
// allows depends on its grammar, budget and tokens alone. Sources may be hostile: sizes are bounded and what is not
// supported is refused, naming the keyword and where it stands.
package grammar
