#!/usr/bin/env bash
# Measures leasehold's content store beside containerd's own, served over the same gRPC.
#
# Both run at the same time, each on a fresh ext4 of its own in a loop file, and take turns: warm-up first, then ROUNDS
# rounds, whose medians are compared. Both sync each blob before its COMMIT is answered. A round uploads, reads and deletes
# BYTES in blobs of one size (or 2000 blobs, or one for each stream, whatever that is). All streams share CONNECTIONS; containerd has
# one.
#
# Run by `make bench`, as root. STREAMS, SIZES, BYTES, LIMIT, ROUNDS and CONNECTIONS change what is run; SERVERS=reference
# measures one alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/bench-servers.sh
source scripts/bench-servers.sh

streams=${STREAMS:-1 4 16} sizes=${SIZES:-4096 1048576 67108864 1073741824} rounds=${ROUNDS:-5}
bytes=${BYTES:-536870912} limit=${LIMIT:-4294967296} connections=${CONNECTIONS:-1}
read -ra servers <<<"${SERVERS:-leasehold reference}"

answers() { "$tools/contentbench" -socket "$work/$1.sock" -blobs 1 -size 16 -phase ingest,remove >/dev/null 2>&1; }

start() { if [[ $1 == leasehold ]]; then start_leasehold "$1"; else start_reference refcontent; fi; }

first=1
# run NAME STREAMS BLOBS SIZE FILE: one round.
run() {
	"$tools/contentbench" -socket "$work/$1.sock" -connections "$connections" -streams "$2" -blobs "$3" -size "$4" \
		-first "$first" -pid "${pid[$1]}" >"$5"
	settle "$1"
}

mkdir "$work/rounds"
for name in "${servers[@]}"; do
	fresh "$name" 12
	# The loop device does not keep in memory what is written to the disk.
	losetup --direct-io=on "$(findmnt -no SOURCE "$work/$name")"
	start "$name"
done
for size in $sizes; do
	for n in $streams; do
		blobs=$((bytes / size))
		((blobs <= 2000)) || blobs=2000
		((blobs >= n)) || blobs=$n
		if ((blobs * size > limit)); then
			printf '\nblobs of %d bytes, %d streams: left out, more than LIMIT=%d bytes\n' "$size" "$n" "$limit"
			continue
		fi
		# Round 0 warms up and is not counted.
		for ((round = 0; round <= rounds; round++)); do
			for name in "${servers[@]}"; do run "$name" "$n" "$blobs" "$size" "$work/rounds/$name.$size.$n.$round"; done
			first=$((first + blobs))
		done
		scripts/bench-table.py content "$blobs blobs of $size bytes, $n streams" "$rounds" \
			"$work/rounds/{server}.$size.$n.{round}" "${servers[@]}"
	done
done
