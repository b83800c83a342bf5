#!/usr/bin/env bash
# Measures leasehold's snapshotter beside containerd's own overlayfs snapshotter, served over the same gRPC.
#
# Both run at the same time, each on a fresh ext4 of its own in a loop file, and take turns: warm-up first, then ROUNDS
# rounds, whose medians are compared. Both sync their records before each answer, and neither syncs the files of a layer.
# Then what clients wait for while RECLAIM layers of FILES files are removed and deleted (RECLAIM=0 leaves that out).
# Afterwards: memory and start-up with many snapshots, and the Criterion benchmarks (CRITERION=0 leaves them out).
#
# Run by `make bench`, as root. CLIENTS, PRESENT, UNITS, ROUNDS and RECLAIM_CLIENTS change what is run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${CARGO_TARGET_DIR:?run this through make}" "${LEASEHOLD_TOOLS:?run this through make}"
[[ $EUID -eq 0 ]] || { echo "$0: mounts file systems, so it needs root" >&2; exit 1; }

clients=${CLIENTS:-1 8 64} present=${PRESENT:-100 10000 100000} units=${UNITS:-2000} rounds=${ROUNDS:-5}
reclaim=${RECLAIM:-2000} files=${FILES:-50} reclaim_clients=${RECLAIM_CLIENTS:-4}
tools=$LEASEHOLD_TOOLS/bin
work=$(mktemp -d "${TMPDIR:-/tmp}/lhbench.XXXX")
declare -A pid=()

stop() {
	local name
	for name in "${!pid[@]}"; do
		kill "${pid[$name]}" || continue
		wait "${pid[$name]}" || true
	done
	pid=()
	for name in leasehold reference; do
		mountpoint -q "$work/$name" && umount "$work/$name"
		rm -f "$work/$name.img"
	done
	return 0
}
trap 'stop; rm -rf "$work"' EXIT

# fresh NAME: a new ext4 with a journal, and with inodes for many small layers.
fresh() {
	truncate -s 16G "$work/$1.img"
	# Nothing is left to be initialised in the background while times are taken.
	mkfs.ext4 -q -N 1600000 -E lazy_itable_init=0,lazy_journal_init=0 -F "$work/$1.img"
	mkdir -p "$work/$1"
	mount -o loop "$work/$1.img" "$work/$1"
}

# wait_for_socket NAME
wait_for_socket() {
	local deadline=$((SECONDS + 60))
	until "$tools/snapbench" -socket "$work/$1.sock" -phase cleanup >/dev/null 2>&1; do
		((SECONDS < deadline)) || { echo "$1 does not answer" >&2; cat "$work/$1.log" >&2; exit 1; }
	done
}

start_leasehold() {
	printf 'root = "%s"\n[plugin]\nsocket = "%s"\n[api]\nsocket = "%s"\n[log]\nlevel = "warn"\n' \
		"$work/leasehold/pool" "$work/leasehold.sock" "$work/api.sock" >"$work/config.toml"
	"$CARGO_TARGET_DIR/release/leasehold" --config "$work/config.toml" serve >>"$work/leasehold.log" 2>&1 &
	pid[leasehold]=$!
	wait_for_socket leasehold
}

start_reference() {
	"$tools/refsnapshotter" -root "$work/reference/pool" -socket "$work/reference.sock" >>"$work/reference.log" 2>&1 &
	pid[reference]=$!
	wait_for_socket reference
}

first=1
# run NAME CLIENTS FILE: one round.
run() {
	"$tools/snapbench" -socket "$work/$1.sock" -clients "$2" -units "$units" -first "$first" -pid "${pid[$1]}" \
		-phase units,remove,cleanup >"$3"
}

mkdir "$work/rounds"
for count in $present; do
	servers=(leasehold reference)
	# The reference needs minutes to make more than that; leasehold alone shows whether its own figures stay flat.
	((count <= 10000)) || servers=(leasehold)
	for name in "${servers[@]}"; do
		fresh "$name"
		"start_$name"
		"$tools/snapbench" -socket "$work/$name.sock" -clients 32 -present "$count" -phase present >/dev/null
		sync -f "$work/$name"
	done
	for n in $clients; do
		# Round 0 warms up and is not counted.
		for ((round = 0; round <= rounds; round++)); do
			for name in "${servers[@]}"; do run "$name" "$n" "$work/rounds/$name.$count.$n.$round"; done
			first=$((first + units))
		done
		scripts/bench-table.py "$work/rounds" "$count" "$n" "$rounds" "${servers[@]}"
	done
	if [[ $count == "${present##* }" ]]; then
		rss=$(awk '/VmRSS/ { print int($2 / 1024) }' "/proc/${pid[leasehold]}/status")
		kill "${pid[leasehold]}"; wait "${pid[leasehold]}"
		start=$(date +%s%N)
		start_leasehold
		took=$((($(date +%s%N) - start) / 1000000))
		idle=$(awk '/VmRSS/ { print int($2 / 1024) }' "/proc/${pid[leasehold]}/status")
		echo "with $count snapshots: resident after the load $rss MiB, after a restart $idle MiB; start-up until it answers $took ms"
	fi
	stop
done

# run_reclaim NAME FILE: one round beside a collection.
run_reclaim() {
	"$tools/snapbench" -socket "$work/$1.sock" -clients "$reclaim_clients" -units "$units" -first "$first" \
		-pid "${pid[$1]}" -phase reclaim -reclaim "$reclaim" -files "$files" >"$2"
}

if ((reclaim > 0)); then
	servers=(leasehold reference)
	for name in "${servers[@]}"; do
		fresh "$name"
		"start_$name"
	done
	for ((round = 0; round <= rounds; round++)); do
		for name in "${servers[@]}"; do run_reclaim "$name" "$work/rounds/$name.reclaim.$round"; done
		# More units than ever run beside a collection.
		first=$((first + 1000000))
	done
	scripts/bench-reclaim-table.py "$work/rounds" "$reclaim" "$files" "$reclaim_clients" "$rounds" "${servers[@]}"
	stop
fi
[[ ${CRITERION:-1} == 0 ]] || cargo bench --locked
