#!/usr/bin/env bash
# Shows leasehold at work, on a machine that is not to notice: `make demo`.
#
# Everything happens in a directory of its own, and in a mount and a process namespace of their own. When they end, every
# process and every mount of the demo has ended. Then the directory is deleted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
: "${CARGO_TARGET_DIR:?run this with: make demo}" "${LEASEHOLD_TOOLS:?run this with: make demo}"
# Which containerd: 2.3, or Debian 12's 1.6.
export CONTAINERD=${CONTAINERD:-2.3}
# containerd's namespace, whose name runc gives to a control group.
export CONTAINERD_NAMESPACE=leasehold-demo

fail() {
	printf 'demo: %s\n' "$*" >&2
	exit 1
}

((EUID == 0)) || fail "containers and mounts need root: sudo make demo"
case $CONTAINERD in
2.3) [[ -x $LEASEHOLD_TOOLS/containerd-2.3/containerd ]] || fail "containerd 2.3 is not built: make tools" ;;
1.6) [[ -x /usr/bin/containerd ]] || fail "Debian's containerd is not installed: make deps" ;;
*) fail "CONTAINERD is 2.3 or 1.6, not $CONTAINERD" ;;
esac

dir=$(mktemp -d /tmp/lh.XXXXXX)
world=
signal=

# shellcheck disable=SC2317
clean_up() {
	# Killed, it takes every process in its namespaces along.
	[[ -z $world ]] || kill -KILL "$world" 2>/dev/null || true
	rm -rf --one-file-system "$dir"
	find /sys/fs/cgroup -depth -type d -path "*/$CONTAINERD_NAMESPACE*" -exec rmdir {} + 2>/dev/null || true
}
trap clean_up EXIT
# The story ends at its next line, cleans up behind itself, and so ends the wait below.
trap 'signal=130; stop_story' INT
trap 'signal=143; stop_story' TERM HUP
# shellcheck disable=SC2317
stop_story() { [[ -z $world ]] || kill -TERM -- "-$world" 2>/dev/null || true; }

# A process group of its own, so that Ctrl-C does not reach the daemons before the story has put its things away.
set -m
unshare --mount --propagation private --pid --fork --kill-child --mount-proc ./inside.sh "$dir" </dev/null &
world=$!
set +m

status=0
wait "$world" || status=$?
if [[ -n $signal ]]; then
	echo "demo: stopped; cleaning up" >&2
	(sleep 15 && kill -KILL "$world") 2>/dev/null &
	wait "$world" 2>/dev/null || true
	kill "$!" 2>/dev/null || true
	status=$signal
fi
world=
exit "$status"
