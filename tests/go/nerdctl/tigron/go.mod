// Stands in for the test framework that nerdctl requires from a directory of its own repository, which is published
// nowhere. `go mod tidy -e` is needed here: nerdctl's tests import more of it than there is.
module github.com/containerd/nerdctl/mod/tigron

go 1.24
