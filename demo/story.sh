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

# shellcheck disable=SC2317
connected() { ctr snapshots list >/dev/null 2>&1; }

tell_story() {
	local image second
	SECONDS=0
	heading "What this shows"
	say "A container image is a pile of layers, and a layer is a directory full of files. On this machine, containerd" \
		"runs containers, and leasehold keeps the directories for it: one for each layer, one for each container." \
		"You will see them come when something needs them, and go when nothing does." \
		"" \
		"    nerdctl   $right   containerd   $right   leasehold   $right   pool/l/1, pool/l/2, ..." \
		"    commands       runs              keeps the        one directory for each" \
		"                   containers        directories      layer and each container" \
		"" \
		"All of it is private to this demo, in $dir, and gone when the demo ends."

	heading "1. Start leasehold, and a containerd that uses it"
	say "leasehold prints what containerd has to know about it. That goes into containerd's settings."
	show "leasehold --config leasehold.toml serve &"
	start_leasehold
	show "leasehold --config leasehold.toml config containerd >>containerd.toml"
	write_containerd_settings >containerd.toml
	show "containerd --config containerd.toml &"
	start_containerd
	say "    $dim$(containerd --version)$plain"
	draw_directories

	image=$registry/shop:1
	second=$registry/shop:2
	heading "2. Make an image, and put it into a registry"
	say "A registry is the place where images are downloaded from. This one listens on this machine only." \
		"The image has three layers: a small system (busybox), and two layers with the files of a shop."
	show "testimage -kind bulk -layers 3 -mib 24 -files 120 -push $image"
	testimage -kind bulk -layers 3 -mib 24 -files 120 -push "$image" >image.txt
	name_layers
	say "    ${dim}pushed$plain" "" "leasehold has not heard of it yet:"
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
	show "kill -9 $leasehold_pid; leasehold --config leasehold.toml serve &"
	kill -KILL "$leasehold_pid"
	wait "$leasehold_pid" 2>/dev/null || true
	start_leasehold
	# containerd tries again after a second or two.
	wait_until connected
	run leasehold --config leasehold.toml fsck
	run nerdctl exec till cat /etc/sales

	heading "6. Make a new image from the container"
	say "Commit turns what the container wrote into one more layer, on top of the three."
	run nerdctl commit till "$second"
	name_top_layer "shop:2, layer 4: what container till wrote"
	draw_directories
	say "" "Its number is a high one: after a crash, no number is given away that may have been given away before." \
		"" "A container of the new image finds the file. Its own directory comes and goes with it."
	run nerdctl run --rm --net none "$second" cat /etc/sales

	heading "7. Remove the container"
	say "Its directory is needed by nothing else. The layers stay, because images need them."
	run nerdctl rm --force till
	wait_until there_are 4
	draw_directories

	heading "8. Remove the new image"
	say "nerdctl names all of its layers. What goes is the top one: the others belong to shop:1 as well."
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
	say "" "That was it, in $SECONDS seconds. The demo now takes its daemons and its files away." \
		"To use leasehold with this machine's containerd: make install, then leasehold config containerd"
}

# name_layers: gives the layers of the first image names, from what testimage said about them.
name_layers() {
	local chain number=0
	local -a what=("busybox" "files" "more files")
	while read -r chain; do
		layer_names["$chain"]="shop:1, layer $((number + 1)): ${what[number]}"
		number=$((number + 1))
	done < <(sed -n 's/.*"chain_id": "\(.*\)".*/\1/p' image.txt)
}

# name_top_layer NAME: names the one layer that has none yet.
name_top_layer() {
	local key rest
	while read -r key rest; do
		[[ $rest != *Committed || -v layer_names[$key] ]] || layer_names["$key"]=$1
	done < <(ctr snapshots list | tail -n +2)
}
