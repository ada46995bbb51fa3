// Package modelapi holds the tests of the model API as a whole: real handler, ledger, budgets and database in front of
// a paced engine, with clients that race, hang up and see their gateway killed.
package modelapi
