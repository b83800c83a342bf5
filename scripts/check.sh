#!/usr/bin/env bash
# Everything that is checked without running anything: format, lints, documentation, scripts, licences.
#
# Run by `make check`, which sets where things are built. A check whose program is not installed is skipped loudly; in CI,
# those that need nothing but a Rust toolchain must run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${CARGO_TARGET_DIR:?run this through make}"
# As in tests/go/build.sh, so that what was compiled there is used here.
export CGO_ENABLED=0 GOFLAGS="-mod=readonly -trimpath -buildvcs=false" GOWORK=off

# step NAME COMMAND...: runs it and says how long it took.
step() {
	local name=$1 start=$SECONDS
	shift
	printf '== %s: %s\n' "$name" "$*"
	"$@"
	printf '== %s: passed in %d s\n' "$name" $((SECONDS - start))
}

skip() { printf '== %s: SKIPPED, NOT PASSED: %s\n' "$1" "$2"; }

# step_of_toolchain NAME COMPONENT COMMAND...: Debian's Rust has neither rustfmt nor clippy, rustup's has both.
step_of_toolchain() {
	local name=$1 component=$2
	shift 2
	if cargo "$component" --version >/dev/null 2>&1 || [[ -n ${CI:-} ]]; then
		step "$name" "$@"
	else
		skip "$name" "cargo $component is not installed (rustup component add rustfmt clippy)"
	fi
}

step_if_installed() {
	local name=$1 program=$2
	shift 2
	if command -v "$program" >/dev/null; then step "$name" "$@"; else skip "$name" "$program is not installed"; fi
}

go_format() {
	local files
	files=$(gofmt -l tests/go)
	[[ -z $files ]] || { printf 'gofmt would change %s\n' "$files"; return 1; }
}

# Those that are no programs are read where they are sourced.
mapfile -t scripts < <(find scripts demo tests fuzz/*.sh .ci -type f -perm /100 \( -name '*.sh' -o -path '.ci/run' \) | sort)

# --release everywhere, because that is where RocksDB is compiled.
step_of_toolchain "format" fmt cargo fmt --check
step_of_toolchain "lints" clippy \
	cargo clippy --release --locked --all-targets --features failpoints -- --deny warnings
# Links inside of the crate are checked, too.
RUSTDOCFLAGS="--deny warnings --allow rustdoc::private_intra_doc_links" \
	step "documentation" cargo doc --release --locked --no-deps --lib --document-private-items
step_if_installed "licences and bans" cargo-deny cargo deny --locked check bans licenses sources
step_if_installed "scripts" shellcheck shellcheck --external-sources "${scripts[@]}"
step "Go format" go_format
step "Go vet" go -C tests/go vet ./...
