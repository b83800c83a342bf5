# What the demo shows, step by step. Sourced by inside.sh.
# shellcheck shell=bash

# wait_until COMMAND...: containerd collects in the background, a moment after it was asked to remove something.
wait_until() {
	local tries
	for ((tries = 0; tries < 200; tries++)); do
		"$@" && return
		sleep 0.1
	done
	say "This took more than 20 seconds."
	return 1
}

# shellcheck disable=SC2317 # called through wait_until
there_are() { [[ $(find pool/l -mindepth 1 -maxdepth 1 | wc -l) == "$1" ]]; }

# containerd forgets a snapshot first, and has leasehold remove it then.
# shellcheck disable=SC2317 # called through wait_until
containerd_has_nothing() { [[ -z $(leasehold --config leasehold.toml snapshot ls | grep "containerd$") ]]; }

# shellcheck disable=SC2317 # called through wait_until
containerd_is_connected() { ctr snapshots list >/dev/null 2>&1; }

tell_story() {
	local first=$registry/shop:1 second=$registry/shop:2
	SECONDS=0
	introduce
	start_daemons
	push_image "$first"
	pull_image "$first"
	run_container "$first"
	kill_leasehold
	commit_container "$second"
	remove_all "$first" "$second"
	lease_image "$first"
	say "" "That was it, in $SECONDS seconds. The demo now takes its daemons and its files away." \
		"To use leasehold with the containerd of this machine: see 'Install' in README.md."
}

introduce() {
	heading "What this shows"
	say "A container image is a pile of layers, and a layer is a directory full of files. On this machine, containerd runs containers, and leasehold keeps the directories for it: one for each layer, and one for each container. You will see them come when something needs them, and go when nothing does."
	draw "" \
		"  nerdctl   $right   containerd   $right   leasehold   $right   pool/l/1, pool/l/2, ..." \
		"  commands       runs              keeps the        one directory for each" \
		"                 containers        directories      layer and each container" \
		""
	say "All of it is private to this demo, in $dir, and gone when the demo ends."
}

start_daemons() {
	heading "1. Start leasehold, and a containerd that uses it"
	say "leasehold prints what containerd has to know about it. That goes into the settings of containerd."
	show "leasehold --config leasehold.toml serve &"
	start_leasehold
	show "leasehold --config leasehold.toml config containerd --version $settings_version >>containerd.toml"
	write_containerd_settings >containerd.toml
	show "containerd --config containerd.toml &"
	start_containerd
	draw "    $dim$(containerd --version)$plain"
	draw_directories
}

push_image() {
	heading "2. Make an image, and put it into a registry"
	say "A registry is where images are downloaded from. This one is reached from this machine only, and the name of the image begins with its address. The image has three layers: busybox, which is a small system, and two layers with the files of a shop."
	show "testimage -kind bulk -layers 3 -mib 24 -files 120 -push $1"
	testimage -kind bulk -layers 3 -mib 24 -files 120 -push "$1" >image.txt
	draw "    ${dim}pushed$plain" ""
	name_layers busybox "files of the shop" "more files of the shop"
	say "leasehold has not heard of it yet:"
	draw_directories
}

pull_image() {
	heading "3. Pull the image"
	say "To pull is to download and to unpack. Each layer is unpacked into a directory of its own."
	run nerdctl pull --quiet "$1"
	draw_directories
}

run_container() {
	heading "4. Run a container"
	say "A container gets no copy of the image. It gets one empty directory, on top of those of the image."
	run nerdctl run --detach --name till --net none "$1" sleep 600
	draw_directories
	say "" "Now the container writes a file, and deletes one that came with the image."
	run nerdctl exec till sh -c 'echo "3 apples" >/etc/sales; rm /bin/vi'
	say "" "Linux shows the directories as if they were one, with a file system called overlay. What the container writes goes into its upperdir. The lowerdirs below are only read, so that other containers can use them at the same time."
	draw_stack
}

kill_leasehold() {
	heading "5. Pull the plug"
	say "leasehold is killed without a warning, and started again. The container does not notice, because it is Linux that shows it the files. leasehold then compares its records with the directories."
	show "kill -9 $leasehold_pid; leasehold --config leasehold.toml serve &"
	kill -KILL "$leasehold_pid"
	wait "$leasehold_pid" 2>/dev/null || true
	start_leasehold
	# It tries again after a second or two.
	wait_until containerd_is_connected
	run leasehold --config leasehold.toml fsck
	run nerdctl exec till cat /etc/sales
}

commit_container() {
	heading "6. Make a new image from the container"
	say "To commit is to turn what the container wrote into one more layer, on top of the three."
	run nerdctl commit till "$1"
	name_top_layer "shop:2, layer 4: what container till wrote"
	draw_directories
	say "" "Its number is a high one: after a crash, leasehold gives no number away that it may have given away before." \
		"" "A container of the new image finds the file. The directory of that container comes and goes with it."
	run nerdctl run --rm --net none "$1" cat /etc/sales
	say "" "What do the images take? UNIQUE is what comes back if one of them is removed. The new image has one layer of its own. The old one has none that can go: the new image and the container stand on them."
	run leasehold --config leasehold.toml du --image
}

remove_all() {
	heading "7. Remove the container"
	say "Nothing else needs its directory. The layers stay, because the images need them."
	run nerdctl rm --force till
	wait_until there_are 4
	draw_directories

	heading "8. Remove the new image"
	say "nerdctl names all of its layers. What goes is the top one: the others belong to shop:1 as well."
	run nerdctl rmi "$2"
	wait_until there_are 3
	draw_directories

	heading "9. Remove the first image"
	say "Now nothing needs the layers any more."
	run nerdctl rmi "$1"
	wait_until there_are 0
	draw_directories
}

lease_image() {
	heading "10. Keep an image through its removal"
	say "What was removed by mistake, or too early, is gone. With a lease it is not: what a lease names stays on disk, whatever containerd removes, until the lease ends. This one lasts 15 seconds, and names an image. leasehold asks containerd what that is made of."
	run nerdctl pull --quiet "$1"
	run leasehold --config leasehold.toml lease create keep --expire 15s --image "$1"
	draw_directories
	say "" "The image is removed. containerd has nothing left:"
	run nerdctl rmi "$1"
	wait_until containerd_has_nothing
	run ctr snapshots list
	say "" "The directories stay. leasehold says what is there, and that it is retained: containerd has removed it, and a lease holds it."
	draw_directories
	run leasehold --config leasehold.toml snapshot ls
	run leasehold --config leasehold.toml du
	say "" "Why is a directory still there? leasehold tells. And would a collection take anything now? It would not."
	run leasehold --config leasehold.toml why "./pool/l/$(directories | tail -n 1)"
	run leasehold --config leasehold.toml gc --dry-run

	heading "11. The lease ends"
	say "Nobody does anything. When the time has come, leasehold deletes the directories."
	run leasehold --config leasehold.toml lease ls
	wait_until there_are 0
	draw_directories
	say "" "Last, leasehold checks that its records and the disk agree:"
	run leasehold --config leasehold.toml fsck
}

# name_layers WHAT...: gives the layers of the first image names, by the chain ids that testimage printed.
name_layers() {
	local chain number=0
	while read -r chain; do
		number=$((number + 1))
		layer_names["$chain"]="shop:1, layer $number: ${!number}"
	done < <(sed -n 's/.*"chain_id": "\(.*\)".*/\1/p' image.txt)
}

# name_top_layer NAME: names the one layer that has none yet.
name_top_layer() {
	local key rest
	while read -r key rest; do
		[[ $rest != *Committed || -v layer_names[$key] ]] || layer_names["$key"]=$1
	done < <(ctr snapshots list | tail -n +2)
}
