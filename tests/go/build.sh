#!/usr/bin/env bash
# Builds the Go side of the tests into the directory given as the first argument:
#
#   containerd-2.3/   containerd, containerd-shim-runc-v2, ctr
#   bin/              nerdctl, snapsuite.test, and the programs of cmd/
#
# Versions come from go.mod alone. A group whose sources have not changed since its last build is skipped.
set -euo pipefail

[[ $# -eq 1 ]] || { echo "usage: $0 DIRECTORY" >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p "$1/containerd-2.3" "$1/bin" "$1/.stamp"
out=$(cd "$1" && pwd)

# Static programs run in any root file system; -mod=readonly makes a stale go.sum an error instead of a silent edit.
export CGO_ENABLED=0 GOFLAGS="-mod=readonly -trimpath -buildvcs=false" GOWORK=off
ldflags="-s -w"

# Two builds into one directory would race on the stamps.
exec 9>"$out/.stamp/lock"
flock 9

# hash_of PATH... : one hash of the files below the paths, of this script and of the compiler.
hash_of() {
	{ go version; find build.sh "$@" -type f -print0 | sort -z | xargs -0 sha256sum; } | sha256sum
}

# up_to_date STAMP HASH OUTPUT...
up_to_date() {
	local stamp=$out/.stamp/$1 hash=$2 file
	shift 2
	for file in "$@"; do
		[[ -x $out/$file ]] || return 1
	done
	[[ -e $stamp && $(<"$stamp") == "$hash" ]]
}

built() { printf '%s\n' "$2" >"$out/.stamp/$1"; }

version_of() { (cd "$1" && go list -m -f '{{.Version}}' "$2"); }

# cri stays in: the suites pull the way a kubelet does, too.
hash=$(hash_of go.mod go.sum)
if ! up_to_date containerd "$hash" containerd-2.3/{containerd,containerd-shim-runc-v2,ctr}; then
	module=github.com/containerd/containerd/v2
	version=$(version_of . $module)
	echo "building containerd $version"
	go build -tags "no_btrfs no_devmapper no_zfs" -o "$out/containerd-2.3/" \
		-ldflags "$ldflags -X $module/version.Version=$version" \
		$module/cmd/containerd $module/cmd/containerd-shim-runc-v2 $module/cmd/ctr
	built containerd "$hash"
fi

hash=$(hash_of nerdctl)
if ! up_to_date nerdctl "$hash" bin/nerdctl; then
	module=github.com/containerd/nerdctl/v2
	version=$(version_of nerdctl $module)
	echo "building nerdctl $version"
	(cd nerdctl && go build -o "$out/bin/nerdctl" \
		-ldflags "$ldflags -X $module/pkg/version.Version=$version" $module/cmd/nerdctl)
	built nerdctl "$hash"
fi

programs=(cmd/*)
hash=$(hash_of go.mod go.sum cmd internal snapsuite)
if ! up_to_date tests "$hash" "${programs[@]/#cmd/bin}" bin/snapsuite.test; then
	echo "building the test programs"
	go build -ldflags "$ldflags" -o "$out/bin/" ./cmd/...
	go test -c -ldflags "$ldflags" -o "$out/bin/snapsuite.test" ./snapsuite
	built tests "$hash"
fi
