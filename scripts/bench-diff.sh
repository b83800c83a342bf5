#!/usr/bin/env bash
# Measures leasehold's differ beside containerd's own applier: decompress, digest, extract.
#
# Each contestant has a fresh ext4 with a journal of its own in a loop file, and they take turns: a warm-up first, then ROUNDS
# rounds, whose medians are compared. A round is a process that applies the whole image, from blobs in the page cache, to new
# directories; nothing is removed before the end, and what a round wrote is on the disk before the next one begins.
# Of containerd there are two: "stock" inflates in Go, "igzip" with the program that containerd uses where it finds it.
#
# Run by `make bench`, as root. CASES and ROUNDS change what is run; IMAGE is a directory in which the image is kept.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/bench-servers.sh
source scripts/bench-servers.sh

rounds=${ROUNDS:-4} image=${IMAGE:-$work/image}
read -ra cases <<<"${CASES:-sequential synced two two-synced zstd known compare}"

ours=${BENCH_APPLY:-}
if [[ -z $ours ]]; then
	ours=$(cargo bench --locked --bench apply --no-run --message-format=json |
		python3 -c 'import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] == "apply":
        print(message["executable"])')
fi
[[ -d $image/blobs ]] || scripts/bench-diff-image.py "$image"

# What each contestant is, whatever its case adds: its options, and which layers.
declare -A options=() kind=()

# contest NAME: a file system for it, and a pool with the blobs if it is ours.
contest() {
	fresh "$1" 8
	# The loop device does not keep in memory what is written to the disk.
	losetup --direct-io=on "$(findmnt -no SOURCE "$work/$1")"
	if [[ $1 == ours* ]]; then "$ours" fill --pool "$work/$1/pool" --image "$image"; fi
	settle "$1"
}

# once NAME ROUND: applies the image.
once() {
	local name=$1 layers=$image/${kind[$1]:-gzip} media=application/vnd.oci.image.layer.v1.tar+${kind[$1]:-gzip} given
	read -ra given <<<"${options[$name]:-}"
	if [[ $name == ours* ]]; then
		given=("${given[@]/#-/--}" --pool "$work/$name/pool" --image "$layers")
	else
		given+=(-image "$layers" -media-type "$media" -out "$work/$name/$2")
	fi
	cat "$layers"/* >/dev/null
	case $name in
	ours*) "$ours" apply "${given[@]}" ;;
	igzip*) CONTAINERD_DISABLE_PIGZ=1 "$tools/refapply" bench "${given[@]}" ;;
	*) CONTAINERD_DISABLE_PIGZ=1 CONTAINERD_DISABLE_IGZIP=1 "$tools/refapply" bench "${given[@]}" ;;
	esac >"$work/rounds/$name.$2"
	settle "$name"
}

# compete TITLE NAME...: all rounds, and the table.
compete() {
	local title=$1 name round
	shift
	rm -rf "$work/rounds"
	mkdir "$work/rounds"
	for name in "$@"; do contest "$name"; done
	# Round 0 warms up and is not counted.
	for ((round = 0; round <= rounds; round++)); do
		for name in "$@"; do once "$name" "$round"; done
	done
	scripts/bench-table.py apply "$title" "$rounds" "$work/rounds/{server}.{round}" "$@"
	stop
	options=() kind=()
}

for case in "${cases[@]}"; do
	case $case in
	sequential)
		options=([ours-synced]=-sync)
		compete "one layer after the other, not synced" ours stock igzip ours-synced
		;;
	synced)
		options=([ours]=-sync [stock]=-sync [igzip]=-sync)
		compete "one layer after the other, each synced" ours stock igzip
		;;
	two)
		options=([ours]="-parallel 2" [stock]="-parallel 2" [igzip]="-parallel 2")
		compete "two layers at a time, not synced" ours stock igzip
		;;
	two-synced)
		options=([ours]="-sync -parallel 2" [stock]="-sync -parallel 2" [igzip]="-sync -parallel 2")
		compete "two layers at a time, each synced" ours stock igzip
		;;
	checked)
		options=([ours-checked]="-content-root $image")
		compete "blobs of containerd's content store, whose digests are checked" ours ours-checked
		;;
	zstd)
		kind=([ours]=zstd [stock]=zstd)
		compete "zstd, one layer after the other, not synced" ours stock
		;;
	known)
		contest ours
		printf '\nlayers that are known\n'
		"$ours" known --pool "$work/ours/pool" --image "$image/gzip"
		stop
		;;
	compare)
		kind=() options=()
		rm -rf "$work/rounds" "$work/change"
		mkdir -p "$work/rounds" "$work/change/etc" "$work/change/usr/bin" "$work/change/srv/app"
		for n in {1..20}; do printf 'setting %d\n' "$n" >"$work/change/etc/setting-$n"; done
		head -c 1000000 /bin/bash >"$work/change/usr/bin/program"
		cp -a scripts "$work/change/srv/app/"
		contest ours
		contest stock
		# Each round compares on what it has applied, which for containerd's is the same all the time.
		once stock image
		for ((round = 0; round <= rounds; round++)); do
			"$ours" compare --pool "$work/ours/pool" --image "$image/gzip" --change "$work/change" >"$work/rounds/ours.$round"
			settle ours
			"$tools/refapply" compare -applied "$work/stock/image" -change "$work/change" -work "$work/stock/$round" \
				>"$work/rounds/stock.$round"
			settle stock
		done
		scripts/bench-table.py compare "a small change on the image" "$rounds" "$work/rounds/{server}.{round}" ours stock
		stop
		;;
	*)
		echo "unknown case $case" >&2
		exit 2
		;;
	esac
done
