# What the demo shows, step by step. Sourced by inside.sh.
# shellcheck shell=bash

# wait_until COMMAND...: containerd collects in the background, a moment after it was asked to remove something.
wait_until() {
	local tries
	for ((tries = 0; tries < 100; tries++)); do
		"$@" && return
		sleep 0.1
	done
	say "This took more than ten seconds."
	return 1
}

directories() { find pool/l -mindepth 1 -maxdepth 1 | wc -l; }
# shellcheck disable=SC2317 # called through wait_until
there_are() { [[ $(directories) == "$1" ]]; }

tell_story() {
	local image second
	SECONDS=0
	heading "What this shows"
	say "A container image is a pile of layers, and a layer is a directory full of files. On this machine, containerd" \
		"runs containers, and leasehold keeps the directories for it: one for each layer, one for each container." \
		"You will see them come when something needs them, and go when nothing does." \
		"" \
		"  you $right nerdctl $right containerd $right leasehold $right $dir/pool/l/" \
		"       (commands)  (runs         (keeps the     (one directory for" \
		"                    containers)   directories)   each layer)" \
		"" \
		"All of it is private to this demo, in $dir, and gone when the demo ends."

	heading "1. Start leasehold, and a containerd that uses it"
	say "leasehold prints what containerd has to know about it. That goes into containerd's settings."
	printf '\n  %s$ leasehold --config leasehold.toml serve &%s\n' "$bold" "$plain"
	start_leasehold
	printf '  %s$ leasehold --config leasehold.toml config containerd >>containerd.toml%s\n' "$bold" "$plain"
	write_containerd_settings >containerd.toml
	printf '  %s$ containerd --config containerd.toml &%s\n' "$bold" "$plain"
	start_containerd
	printf '    %s%s%s\n' "$dim" "$(containerd --version)" "$plain"
	draw_directories

	image=$registry/shop:1
	second=$registry/shop:2
	heading "2. Make an image, and put it into a registry"
	say "A registry is the place where images are downloaded from. This one listens on this machine only." \
		"The image has three layers: a small system (busybox), and two layers with the files of a shop."
	run testimage -kind bulk -layers 3 -mib 24 -files 120 -push "$image" >image.txt
	sed -n '2p' image.txt
	name_layers
	say "    pushed" "" "Nothing is on this machine's side yet:"
	draw_directories

	heading "3. Pull the image"
	say "Pulling is downloading and unpacking. Each layer is unpacked into a directory of its own."
	run nerdctl pull --quiet "$image"
	draw_directories

	heading "4. Run a container"
	say "A container gets no copy of the image. It gets one empty directory on top of the image's directories."
	run nerdctl run --detach --name till --net none "$image" sleep 600
	draw_directories
	say "" "Now the container writes a file, and deletes one that came with the image."
	run nerdctl exec till sh -c 'echo "3 apples" >/etc/sales; rm /bin/vi'
	say "" "The kernel shows the directories as if they were one, with a file system called overlay:"
	draw_stack
	say "" "The image's own directories are as they were. Others can use them at the same time."

	heading "5. Pull the plug"
	say "leasehold is killed, without a warning, and started again. The container does not notice: the kernel does the" \
		"work of showing files. After the start, leasehold compares its records with the directories."
	printf '\n  %s$ kill -9 leasehold; leasehold --config leasehold.toml serve &%s\n' "$bold" "$plain"
	kill -KILL "$leasehold_pid"
	wait "$leasehold_pid" 2>/dev/null || true
	start_leasehold
	run leasehold --config leasehold.toml fsck
	run nerdctl exec till cat /etc/sales

	heading "6. Make a new image from the container"
	say "Commit turns what the container wrote into one more layer, on top of the three."
	run nerdctl commit till "$second"
	name_top_layer "shop:2, layer 4: what container till wrote"
	draw_directories
	say "" "A container of the new image finds the file. Its own directory comes and goes with it."
	run nerdctl run --rm --net none "$second" cat /etc/sales

	heading "7. Remove the container"
	say "Its directory is needed by nothing else. The layers stay, because images need them."
	run nerdctl rm --force till
	wait_until there_are 4
	draw_directories

	heading "8. Remove the new image"
	say "Only its top layer goes. The three below belong to shop:1 as well."
	run nerdctl rmi "$second"
	wait_until there_are 3
	draw_directories

	heading "9. Remove the first image"
	say "Now nothing needs the layers any more."
	run nerdctl rmi "$image"
	wait_until there_are 0
	draw_directories
	say "" "Last, leasehold checks that its records and the disk agree:"
	run leasehold --config leasehold.toml fsck
	say "" "That was it, in $SECONDS seconds. The demo takes its daemons and its files away."
}

# name_layers: gives the layers of the first image names, from what testimage said about them.
name_layers() {
	local chain number=0
	local -a what=("busybox" "files" "more files")
	while read -r chain; do
		layer_names[$chain]="shop:1, layer $((number + 1)): ${what[number]}"
		number=$((number + 1))
	done < <(sed -n 's/.*"chain_id": "\(.*\)".*/\1/p' image.txt)
}

# name_top_layer NAME: names the one layer that has none yet.
name_top_layer() {
	local key rest
	while read -r key rest; do
		[[ $rest != *Committed || -v layer_names[$key] ]] || layer_names[$key]=$1
	done < <(ctr snapshots list | tail -n +2)
}
