#!/usr/bin/env bash
# Runs inside the namespaces that demo.sh made: starts the daemons, tells the story, ends the daemons.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$1
: "${CARGO_TARGET_DIR:?}" "${LEASEHOLD_TOOLS:?}" "${CONTAINERD:?}" "${CONTAINERD_NAMESPACE:?}"

# A containerd keeps a few things below /run, wherever its own directories are. This hides the host's.
mount -t tmpfs tmpfs /run
# A pool cannot be on an overlay file system, where a demo inside a container would put it.
[[ $(stat -f -c %T "$dir") != overlayfs ]] || mount -t tmpfs tmpfs "$dir"
cd "$dir"

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
[[ $CONTAINERD != 2.3 ]] || PATH=$LEASEHOLD_TOOLS/containerd-2.3:$PATH
export PATH=$CARGO_TARGET_DIR/release:$LEASEHOLD_TOOLS/bin:$PATH
export CONTAINERD_ADDRESS=$dir/containerd.sock CONTAINERD_SNAPSHOTTER=leasehold
# What this containerd says of the host, such as its old control groups, is not the story.
export CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1
export NERDCTL_TOML=$dir/nerdctl.toml DOCKER_CONFIG=$dir HOME=$dir

# shellcheck source=demo/picture.sh
source "$here/picture.sh"
# shellcheck source=demo/world.sh
source "$here/world.sh"
# shellcheck source=demo/story.sh
source "$here/story.sh"

trap end_world EXIT
trap 'exit 143' TERM
begin_world
tell_story
