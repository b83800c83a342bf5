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
# shellcheck source=scripts/bench-servers.sh
source scripts/bench-servers.sh

clients=${CLIENTS:-1 8 64} present=${PRESENT:-100 10000 100000} units=${UNITS:-2000} rounds=${ROUNDS:-5}
reclaim=${RECLAIM:-2000} files=${FILES:-50} reclaim_clients=${RECLAIM_CLIENTS:-4}

answers() { "$tools/snapbench" -socket "$work/$1.sock" -phase cleanup >/dev/null 2>&1; }

start() { if [[ $1 == leasehold ]]; then start_leasehold "$1"; else start_reference refsnapshotter; fi; }

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
		# Inodes for many small layers.
		fresh "$name" 16 -N 1600000
		start "$name"
		"$tools/snapbench" -socket "$work/$name.sock" -clients 32 -present "$count" -phase present >/dev/null
		sync -f "$work/$name"
	done
	for n in $clients; do
		# Round 0 warms up and is not counted.
		for ((round = 0; round <= rounds; round++)); do
			for name in "${servers[@]}"; do run "$name" "$n" "$work/rounds/$name.$count.$n.$round"; done
			first=$((first + units))
		done
		scripts/bench-table.py snapshots "$count snapshots present, $n clients" "$rounds" \
			"$work/rounds/{server}.$count.$n.{round}" "${servers[@]}"
	done
	if [[ $count == "${present##* }" ]]; then
		rss=$(awk '/VmRSS/ { print int($2 / 1024) }' "/proc/${pid[leasehold]}/status")
		kill "${pid[leasehold]}"; wait "${pid[leasehold]}"
		start=$(date +%s%N)
		start_leasehold leasehold
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
		fresh "$name" 16 -N 1600000
		start "$name"
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
