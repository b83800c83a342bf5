#!/usr/bin/env bash
# Installs what the build, the tests and the demo need, from Debian's packages.
#
# Only what is missing is installed, by the names of the programs: a containerd from elsewhere stays as it is, and so does
# a Rust from rustup. Nothing is removed, and no service is started or enabled. Needs root when something is missing.
# On other distributions it only says what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export DEBIAN_FRONTEND=noninteractive
# Daemons and file system tools are there, whether or not the user's PATH says so.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# The package that each program is in.
declare -A package_of=(
	[cc]=build-essential [c++]=build-essential [make]=build-essential [git]=git
	[containerd]=containerd [runc]=runc [docker-registry]=docker-registry
	[mkfs.ext4]=e2fsprogs [mkfs.xfs]=xfsprogs [mkfs.btrfs]=btrfs-progs
	[unshare]=util-linux [ip]=iproute2 [setfattr]=attr [setcap]=libcap2-bin
)

# For Go 1.21 and newer, the go command itself fetches the version that go.mod asks for.
go_at_least=1.21
# What an older one, such as Debian 12's, fetches first: the version in go.mod.
go_wanted=$(sed -n 's/^go \([0-9][0-9.]*\)$/\1/p' tests/go/go.mod)
rust_at_least=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
go_dir=${1:-}

say() { printf '%s\n' "deps: $*" >&2; }
die() {
	say "$*"
	exit 1
}

has() { command -v "$1" >/dev/null; }
# at_least VERSION MINIMUM
at_least() { [[ -n $1 && $(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1) == "$2" ]]; }

rust_version() { cargo --version 2>/dev/null | cut -d ' ' -f 2; }
go_version() { GOTOOLCHAIN=local go version 2>/dev/null | sed -n 's/^go version go\([0-9.]*\).*/\1/p'; }

# bindgen loads libclang when it runs, and needs the headers that come with it.
has_libclang() {
	compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null && compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null
}

# In a container of the tests there is no libc.
has_static_busybox() { has busybox && ! ldd "$(command -v busybox)" >/dev/null 2>&1; }

missing_packages() {
	local program
	for program in "${!package_of[@]}"; do
		has "$program" || echo "${package_of[$program]}"
	done
	[[ -e /etc/ssl/certs/ca-certificates.crt ]] || echo ca-certificates
	has_libclang || echo libclang-dev
	has_static_busybox || echo busybox-static
	# rustup's programs are in one directory, cargo or not.
	has cargo || has rustup || printf '%s\n' cargo-web rustc-web
	has go || echo golang-go
}

# While a package is installed, Debian asks this program whether it may start its service. An administrator's own answer
# is left alone.
refuse_starts() {
	local policy=/usr/sbin/policy-rc.d
	[[ ! -e $policy ]] || return 0
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	printf '%s\n' '#!/bin/sh' 'exit 101' >$policy
	chmod 755 $policy
}

services() { find /lib/systemd/system -name '*.service' -printf '%f\n' 2>/dev/null | sort; }

install_packages() {
	local before plan removed service
	before=$(services)
	say "installing: $*"
	apt-get update -qq
	plan=$(apt-get install --simulate --no-install-recommends "$@") || die "apt-get cannot install: $*"
	# busybox-static is busybox, linked differently; each replaces the other.
	removed=$(awk '$1 == "Remv" && $2 != "busybox" { print $2 }' <<<"$plan" | xargs)
	[[ -z $removed ]] || die "installing $* would remove $removed; sort that out by hand, and run this again"
	refuse_starts
	apt-get install -y -qq --no-install-recommends "$@" >&2
	# Otherwise they would start with the machine. They are needed as programs only.
	has systemctl || return 0
	for service in $(comm -13 <(echo "$before") <(services)); do
		systemctl disable --quiet "$service" 2>/dev/null || true
	done
}

check_rust() {
	local version
	version=$(rust_version)
	at_least "$version" "$rust_at_least" && return
	if [[ -n $version ]]; then
		say "cargo is $version, and $rust_at_least or newer is needed"
	else
		say "cargo does not run, though $(command -v cargo rustup | head -n 1) is installed"
	fi
	die "get it with 'rustup toolchain install stable' (https://rustup.rs), or replace Debian's cargo and rustc by its cargo-web and rustc-web"
}

# The module proxy serves whole toolchains; the go command checks what it gets with the checksum database.
fetch_go() {
	local arch module=golang.org/toolchain cache
	[[ -n $go_dir ]] || die "Go $go_at_least or newer is needed, or a directory to put one into as the first argument"
	at_least "$(PATH=$go_dir/bin:$PATH go_version)" "$go_at_least" && return
	say "Go is $(go_version); fetching $go_wanted into $go_dir"
	arch=$(go env GOARCH)
	mkdir -p "$(dirname "$go_dir")"
	cache=$(mktemp -d "$go_dir.XXXXXX")
	(cd "$cache" && GOMODCACHE=$cache GOFLAGS=-modcacherw go mod download "$module@v0.0.1-go$go_wanted.linux-$arch") ||
		die "Go $go_wanted cannot be fetched; install Go $go_at_least or newer by hand (https://go.dev/dl)"
	# A module holds no executable files and no second go.mod.
	mv "$cache/$module@v0.0.1-go$go_wanted.linux-$arch" "$cache/go"
	find "$cache/go/bin" "$cache/go/pkg/tool" -type f -exec chmod 755 {} +
	cp "$cache/go/src/_go.mod" "$cache/go/src/go.mod"
	rm -rf "$go_dir"
	mv "$cache/go" "$go_dir"
	rm -rf "$cache"
}

mapfile -t missing < <(missing_packages | sort -u)
if ((${#missing[@]})); then
	has apt-get || die "these Debian packages, or what is in them, are missing: ${missing[*]}"
	((EUID == 0)) || die "missing: ${missing[*]}. Run this as root: $PWD/scripts/deps.sh"
	install_packages "${missing[@]}"
fi
check_rust
at_least "$(go_version)" "$go_at_least" || fetch_go
