#!/usr/bin/env bash
# Installs what is needed, from Debian's packages: deps.sh build|demo|test. Each includes the one before it.
#
# Only what is missing is installed, by the names of the programs: a containerd from elsewhere stays as it is, and so does
# a Rust from rustup. Nothing is removed, and no service is started or enabled. Needs root when something is missing.
# On other distributions it only says what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export DEBIAN_FRONTEND=noninteractive
# Daemons and tools of file systems are there, whether or not the user's PATH says so.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

rust_at_least=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
# From 1.21 on, the go command itself fetches the version that go.mod asks for. For an older one we do, into go_dir.
go_at_least=1.21
go_wanted=$(sed -n 's/^go \([0-9][0-9.]*\)$/\1/p' tests/go/go.mod)
go_dir=${LEASEHOLD_GO:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/leasehold/go}

# What must not stay behind, however this ends.
temporary=()
trap 'rm -rf "${temporary[@]}"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say() { printf 'deps: %s\n' "$*" >&2; }
die() {
	say "$*"
	exit 1
}

has() { command -v "$1" >/dev/null; }

# at_least VERSION MINIMUM
at_least() { [[ -n $1 && $(printf '%s\n' "$1" "$2" | sort -V | head -n 1) == "$2" ]]; }

rust_version() { cargo --version 2>/dev/null | cut -d ' ' -f 2; }
go_version() { GOTOOLCHAIN=local go version 2>/dev/null | sed -n 's/^go version go\([0-9.]*\).*/\1/p'; }

# bindgen loads libclang when it runs, and needs the headers that come with it.
has_libclang() {
	compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null &&
		compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null
}

# In the containers that it is for, there is no libc.
has_static_busybox() { has busybox && ! ldd "$(command -v busybox)" >/dev/null 2>&1; }

missing=()
# need PACKAGE TEST...: the package is missing if the test fails.
need() {
	local package=$1
	shift
	"$@" || missing+=("$package")
}

need_for_build() {
	need build-essential has c++
	need build-essential has make
	need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
	need libclang-dev has_libclang
	# Where rustup is, cargo is its business.
	has rustup || need cargo-web has cargo
}

need_for_demo() {
	need_for_build
	need golang-go has go
	need containerd has containerd
	need runc has runc
	need docker-registry has docker-registry
	need busybox-static has_static_busybox
	need util-linux has unshare
}

need_for_test() {
	need_for_demo
	need git has git
	need e2fsprogs has mkfs.ext4
	need xfsprogs has mkfs.xfs
	need btrfs-progs has mkfs.btrfs
	need attr has setfattr
	need shellcheck has shellcheck
	need python3 has python3
}

# While a package is installed, Debian asks this program whether it may start its services. An administrator's own answer
# is left alone.
refuse_starts() {
	[[ ! -e /usr/sbin/policy-rc.d ]] || return 0
	temporary+=(/usr/sbin/policy-rc.d)
	printf '%s\n' '#!/bin/sh' 'exit 101' >/usr/sbin/policy-rc.d
	chmod 755 /usr/sbin/policy-rc.d
}

services() { find /lib/systemd/system -name '*.service' -printf '%f\n' 2>/dev/null | sort; }

install_packages() {
	local before plan removed service
	before=$(services)
	say "installing $*"
	apt-get update -qq
	plan=$(apt-get install --simulate --no-install-recommends "$@") || die "apt-get cannot install $*"
	# busybox-static is busybox, linked differently, and takes its place.
	removed=$(awk '$1 == "Remv" && $2 != "busybox" { print $2 }' <<<"$plan" | xargs)
	[[ -z $removed ]] || die "installing $* would remove $removed; sort that out by hand, and run this again"
	refuse_starts
	apt-get install -y -qq --no-install-recommends "$@" >&2
	# Otherwise they would start with the machine, though they are needed as programs only.
	has systemctl || return 0
	for service in $(comm -13 <(echo "$before") <(services)); do
		systemctl disable --quiet "$service" 2>/dev/null || true
	done
}

check_rust() {
	local version
	version=$(rust_version)
	at_least "$version" "$rust_at_least" && return
	say "Rust $rust_at_least or newer is needed; cargo is ${version:-there, but has no toolchain}"
	die "run 'rustup toolchain install stable' (https://rustup.rs), or replace Debian's cargo and rustc by its cargo-web and rustc-web"
}

# The module proxy serves whole toolchains. The go command checks what it gets against the checksum database.
fetch_go() {
	local name cache
	name=golang.org/toolchain@v0.0.1-go$go_wanted.linux-$(go env GOARCH)
	say "Go is $(go_version); fetching $go_wanted into $go_dir"
	mkdir -p "$(dirname "$go_dir")"
	cache=$(mktemp -d "$go_dir.XXXXXX")
	temporary+=("$cache")
	(cd "$cache" && GOMODCACHE=$cache GOFLAGS=-modcacherw go mod download "$name") ||
		die "Go $go_wanted cannot be fetched; install Go $go_at_least or newer (https://go.dev/dl)"
	# A module can hold neither executable files nor a second go.mod.
	find "$cache/$name/bin" "$cache/$name/pkg/tool" -type f -exec chmod 755 {} +
	cp "$cache/$name/src/_go.mod" "$cache/$name/src/go.mod"
	rm -rf "$go_dir"
	mv "$cache/$name" "$go_dir"
}

check_go() {
	at_least "$(go_version)" "$go_at_least" && return
	at_least "$(PATH=$go_dir/bin:$PATH go_version)" "$go_at_least" || fetch_go
}

case ${1:-} in
build | demo | test) "need_for_$1" ;;
*)
	echo "usage: $0 build|demo|test" >&2
	exit 2
	;;
esac
if ((${#missing[@]})); then
	mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
	has apt-get || die "missing, by the names of Debian's packages: ${missing[*]}"
	((EUID == 0)) || die "missing: ${missing[*]}. Run this as root: $PWD/scripts/deps.sh $1"
	install_packages "${missing[@]}"
fi
check_rust
[[ $1 == build ]] || check_go
