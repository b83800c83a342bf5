# shellcheck shell=bash
# Two servers that are measured beside each other, each on a fresh file system of its own. Sourced by the scripts that do.
#
# Sets work, a directory that goes away at the end, and pid, the process of each server that runs. A server is called
# leasehold or reference, and so is its mount below work. Whoever sources this defines answers NAME: is it there?

[[ $EUID -eq 0 ]] || { echo "$0: mounts file systems, so it needs root" >&2; exit 1; }
tools=${LEASEHOLD_TOOLS:?run this through make}/bin
work=$(mktemp -d "${TMPDIR:-/tmp}/lhbench.XXXX")
declare -A pid=() made=()
trap 'stop; rm -rf "$work"' EXIT

# stop: ends the servers, and throws away what they stored.
stop() {
	local name
	for name in "${!pid[@]}"; do
		kill "${pid[$name]}" || continue
		wait "${pid[$name]}" || true
	done
	pid=()
	for name in "${!made[@]}"; do
		if mountpoint -q "$work/$name"; then umount "$work/$name"; fi
		rm -f "$work/$name.img"
	done
	made=()
}

# fresh NAME GIGABYTES [OPTION...]: a new ext4 with a journal; the options are of mkfs.
fresh() {
	local name=$1 size=$2
	shift 2
	made[$name]=1
	truncate -s "${size}G" "$work/$name.img"
	# Nothing is left to be initialised in the background while times are taken.
	mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$@" -F "$work/$name.img"
	mkdir -p "$work/$name"
	mount -o loop "$work/$name.img" "$work/$name"
}

# settle NAME: what was deleted is gone, and nothing is left to be written while the other one has its turn.
settle() {
	local deadline=$((SECONDS + 60))
	until [[ -z $(find "$work/$1" -path '*/trash/*' -print -quit) ]]; do
		((SECONDS < deadline)) || { echo "$1 does not delete what was removed" >&2; exit 1; }
	done
	sync -f "$work/$1"
}

# wait_for NAME
wait_for() {
	local deadline=$((SECONDS + 60))
	until answers "$1"; do
		((SECONDS < deadline)) || { echo "$1 does not answer" >&2; cat "$work/$1.log" >&2; exit 1; }
	done
}

# start_leasehold NAME
start_leasehold() {
	printf 'root = "%s"\n[plugin]\nsocket = "%s"\n[api]\nsocket = "%s"\n[log]\nlevel = "warn"\n' \
		"$work/$1/pool" "$work/$1.sock" "$work/$1-api.sock" >"$work/$1.toml"
	"${CARGO_TARGET_DIR:?run this through make}/release/leasehold" --config "$work/$1.toml" serve >>"$work/$1.log" 2>&1 &
	pid[$1]=$!
	wait_for "$1"
}

# start_reference PROGRAM: the server called reference.
start_reference() {
	"$tools/$1" -root "$work/reference/pool" -socket "$work/reference.sock" >>"$work/reference.log" 2>&1 &
	pid[reference]=$!
	wait_for reference
}
