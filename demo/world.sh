# The demo's daemons: an image registry, leasehold, and a containerd that uses it. Sourced by inside.sh.
#
# Each is in a session of its own: a signal to the story reaches the story only, which then ends them in order.
# shellcheck shell=bash

leasehold_pid=
containerd_pid=
registry_pid=
# Host and port of the registry.
registry=
# Which language containerd.toml is in.
settings_version=3
[[ $CONTAINERD != 1.6 ]] || settings_version=2

# wait_for WHAT PID LOG COMMAND...: until the command succeeds. Fails when the process ends first.
wait_for() {
	local what=$1 pid=$2 log=$3 tries
	shift 3
	for ((tries = 0; tries < 300; tries++)); do
		"$@" >/dev/null 2>&1 && return
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	printf '%s did not start:\n' "$what"
	tail -n 20 "$log"
	return 1
}

write_settings() {
	cat >registry.yml <<-END
		version: 0.1
		log: {accesslog: {disabled: true}}
		storage: {filesystem: {rootdirectory: $dir/registry}}
		http: {addr: "127.0.0.1:0"}
	END
	cat >leasehold.toml <<-END
		root = "$dir/pool"
		[plugin]
		socket = "$dir/plugin.sock"
		[api]
		socket = "$dir/api.sock"
		[snapshotter]
		# For the pictures: tells whose a directory is.
		upperdir_label = true
	END
	cat >nerdctl.toml <<-END
		address = "$dir/containerd.sock"
		namespace = "$CONTAINERD_NAMESPACE"
		snapshotter = "leasehold"
		data_root = "$dir/nerdctl"
		cni_path = "$dir"
		cni_netconfpath = "$dir/cni"
		cgroup_manager = "cgroupfs"
	END
}

# What containerd needs to know of leasehold, leasehold prints. The rest keeps this containerd to itself.
write_containerd_settings() {
	cat <<-END
		root = "$dir/containerd"
		state = "$dir/run"
		disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
	END
	leasehold --config leasehold.toml config containerd --version "$settings_version"
	cat <<-END
		[grpc]
		  address = "$dir/containerd.sock"
		[ttrpc]
		  address = "$dir/containerd.sock.ttrpc"
		# Collect at once what nothing uses any more, for the pictures.
		[plugins.'io.containerd.gc.v1.scheduler']
		  deletion_threshold = 1
	END
}

registry_listens() {
	registry=$(sed -n 's/.*listening on \(127\.0\.0\.1:[0-9]*\).*/\1/p' registry.log)
	[[ -n $registry ]]
}

start_registry() {
	setsid docker-registry serve registry.yml >registry.log 2>&1 &
	registry_pid=$!
	wait_for "the registry" "$registry_pid" registry.log registry_listens
}

start_leasehold() {
	# One that was killed leaves its sockets behind.
	rm -f plugin.sock api.sock
	setsid leasehold --config leasehold.toml serve >>leasehold.log 2>&1 &
	leasehold_pid=$!
	wait_for leasehold "$leasehold_pid" leasehold.log test -S plugin.sock -a -S api.sock
}

start_containerd() {
	setsid containerd --config containerd.toml >containerd.log 2>&1 &
	containerd_pid=$!
	wait_for containerd "$containerd_pid" containerd.log ctr version
}

begin_world() {
	write_settings
	start_registry
}

# Puts away what would outlive the namespaces, and shows the logs of a story that failed.
end_world() {
	local status=$? pid
	trap - EXIT TERM
	set +e
	if [[ -n $containerd_pid ]]; then
		# shellcheck disable=SC2046
		nerdctl rm --force $(nerdctl ps --all --quiet) >/dev/null 2>&1
	fi
	for pid in $containerd_pid $leasehold_pid $registry_pid; do
		kill "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	if ((status != 0 && status != 143)); then
		printf '\nThe demo failed. The last lines of the logs:\n'
		tail -n 15 leasehold.log containerd.log 2>/dev/null | cut -c 1-300
	fi
	exit "$status"
}
