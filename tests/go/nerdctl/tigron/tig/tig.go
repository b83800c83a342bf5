// Package tig has the one type of the framework that nerdctl's program refers to, with the methods it calls.
package tig

// T is satisfied by *testing.T.
type T interface {
	Log(args ...any)
	FailNow()
}
