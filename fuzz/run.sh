#!/usr/bin/env bash
# Runs the fuzz targets one after the other, as root, on one core: fuzz/run.sh [SECONDS [TARGET...]]
#
# Needs no more than a Rust toolchain: what cargo-fuzz would set is set here. Seeds come from tests/go's tarcases, if that
# is built. What is found stays in fuzz/artifacts; `fuzz/run.sh 0 extract FILE...` runs it again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

seconds=${1:-600}
shift || true
targets=("$@")
[[ $# -gt 0 ]] || targets=(extract entries stream)
tarcases=${LEASEHOLD_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/leasehold/tools}/bin/tarcases
built=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')

# Instrumentation is a matter of nightly compilers, which the variable makes of any.
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
# The allocator keeps what is freed, a quarter of a GiB of it, unless told otherwise.
export ASAN_OPTIONS="quarantine_size_mb=8:detect_leaks=0:${ASAN_OPTIONS:-}"
# With a target, programs that run during the build are not instrumented.
cargo build --release --locked --target "$host" --target-dir "$built" --bins

# seeds TARGET DIRECTORY: makes the first inputs.
seeds() {
	case $1 in
	extract)
		[[ -x $tarcases ]] || return 0
		"$tarcases" -o "$2.cases" -count 150
		local tar n=0 how
		for tar in "$2".cases/*/*.tar; do
			# Each of the ways in which it can be extracted; checksums as they are.
			how=$((n++ % 16 + 16))
			{ printf '%b' "\\x$(printf %02x $how)" && cat "$tar"; } >"$2/seed-$n"
		done
		rm -r "$2.cases"
		;;
	stream)
		printf '\x00\x00%s' "$(head -c 300 "$0")" >"$2/seed-plain"
		{ printf '\x00\x00' && gzip -9 <"$0"; } >"$2/seed-gzip"
		printf '\x00\x00\x28\xb5\x2f\xfd\x00\x88\x01\x00\x00' >"$2/seed-zstd"
		printf '\x00\x00\x53\x2a\x4d\x18\x02\x00\x00\x00xx\x28\xb5\x2f\xfd\x04\x00\x11\x00\x00xx' >"$2/seed-frames"
		printf '\x80\x40%s' "$(head -c 300 "$0")" >"$2/seed-gzip-of"
		printf '\xc0\x40%s' "$(head -c 300 "$0")" >"$2/seed-zstd-of"
		;;
	esac
}

if [[ $seconds == 0 ]]; then
	exec "$built/$host/release/${targets[0]}" "${targets[@]:1}"
fi
for target in "${targets[@]}"; do
	mkdir -p "corpus/$target" "artifacts/$target"
	[[ -n $(ls "corpus/$target") ]] || seeds "$target" "corpus/$target"
	# Relative paths: see src/jail.rs.
	nice -n 19 "$built/$host/release/$target" "corpus/$target" "-artifact_prefix=artifacts/$target/" \
		-max_total_time="$seconds" -max_len=65536 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1
done
