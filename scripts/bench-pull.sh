#!/usr/bin/env bash
# Measures pulls of an image with leasehold as the content store, beside the same with containerd's own.
#
# Two containerds and two leaseholds that have the snapshots run at the same time, each pair on a fresh ext4 of its own in a
# loop file, and take turns: warm-up first, then ROUNDS rounds, whose medians are compared. A round is a pull from a
# registry on this machine, by containerd's transfer service; then the image is removed, and everything that it left. Times
# of fetching alone, without unpacking, are taken as well.
#
# Run by `make bench`, as root. MIB (of the image), LAYERS and ROUNDS change what is run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/bench-servers.sh
source scripts/bench-servers.sh

mib=${MIB:-256} layers=${LAYERS:-8} rounds=${ROUNDS:-5}
release=$LEASEHOLD_TOOLS/containerd-2.3

# ctr NAME ARGUMENT...
ctr() {
	local name=$1
	shift
	CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1 "$release/ctr" --address "$work/$name-containerd.sock" --namespace bench "$@"
}

answers() {
	case $1 in
	registry) registry=$(grep -o 'listening on [^"]*' "$work/registry.log" | head -n 1) && registry=${registry##* } ;;
	*-containerd) ctr "${1%-containerd}" version >/dev/null 2>&1 ;;
	*) "$tools/snapbench" -socket "$work/$1.sock" -phase cleanup >/dev/null 2>&1 ;;
	esac
}

start_registry() {
	printf 'version: 0.1\nlog: {level: info}\nstorage: {filesystem: {rootdirectory: "%s"}}\nhttp: {addr: "127.0.0.1:0"}\n' \
		"$work/registry" >"$work/registry.yml"
	docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
	pid[registry]=$!
	wait_for registry
}

# start_pair NAME [OPTION...]: leasehold, and a containerd that uses it; the options are of its stanzas.
start_pair() {
	local name=$1 leasehold="$CARGO_TARGET_DIR/release/leasehold"
	shift
	start_leasehold "$name"
	{
		printf 'root = "%s"\nstate = "%s"\ngrpc.address = "%s"\nttrpc.address = "%s"\n' \
			"$work/$name/containerd" "$work/$name-state" "$work/$name-containerd.sock" "$work/$name-ttrpc.sock"
		printf 'plugins."io.containerd.internal.v1.opt".path = "%s"\n' "$work/$name/opt"
		"$leasehold" --config "$work/$name.toml" config containerd --version 3 "$@"
	} >"$work/$name-containerd.toml"
	PATH=$release:$PATH "$release/containerd" --config "$work/$name-containerd.toml" --log-level warn \
		>"$work/$name-containerd.log" 2>&1 &
	pid[$name-containerd]=$!
	wait_for "$name-containerd"
}

# timed COMMAND...: milliseconds.
timed() {
	local start
	start=$(date +%s%N)
	"$@" >/dev/null
	echo $((($(date +%s%N) - start) / 1000000))
}

# empty NAME: the image is gone, and what it left.
empty() {
	local name=$1
	ctr "$name" images rm --sync "$image" >/dev/null
	ctr "$name" content ls -q | xargs -r "$release/ctr" --address "$work/$name-containerd.sock" --namespace bench content rm \
		>/dev/null
	settle "$name"
}

pull() { ctr "$1" images pull --plain-http --snapshotter leasehold "$image"; }
fetch() { ctr "$1" content fetch --plain-http "$image"; }

start_registry
image=$registry/bench:bulk
"$tools/testimage" -kind bulk -layers "$layers" -mib "$mib" -files 4000 -busybox "$(command -v busybox)" -push "$image" >/dev/null
for name in leasehold reference; do fresh "$name" 8; done
start_pair leasehold --content
start_pair reference
printf '%d MiB in %d layers, median of %d rounds; reference: containerd'\''s own content store\n' "$mib" "$layers" "$rounds"
for what in pull fetch; do
	declare -A times=([leasehold]="" [reference]="")
	# Round 0 warms up and is not counted.
	for ((round = 0; round <= rounds; round++)); do
		for name in leasehold reference; do
			took=$(timed "$what" "$name")
			empty "$name"
			((round == 0)) || times[$name]+=" $took"
		done
	done
	for name in leasehold reference; do
		# shellcheck disable=SC2086 # They are words.
		printf '%s with %s: median %d ms of%s\n' "$what" "$name" \
			"$(printf '%s\n' ${times[$name]} | sort -n | sed -n $(((rounds + 1) / 2))p)" "${times[$name]}"
	done
done
