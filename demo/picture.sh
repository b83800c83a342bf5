# Words and pictures on a terminal. Sourced by inside.sh.
# shellcheck shell=bash

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
	bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
	bold='' dim='' green='' red='' plain=''
fi
if [[ $(locale charmap 2>/dev/null) == UTF-8 ]]; then
	bar='━━' branch='├──' last='└──' side='│' right='─▶'
	box_top='┌' box_mid='├' box_low='└' line='─'
else
	bar='==' branch='|--' last='`--' side='|' right='->'
	box_top='+' box_mid='+' box_low='+' line='-'
fi

# What each backing directory was for when it was last drawn, by its number.
declare -A drawn=()
# Names of the image layers that the story knows, by their chain id.
declare -A layer_names=()

heading() { printf '\n%s%s %s%s\n' "$bold" "$bar" "$*" "$plain"; }

# say PARAGRAPH...: plain words, wrapped for a terminal of 80 columns.
say() { printf '%s\n' "$@" | fold -s -w 80 | sed 's/ *$//'; }

# draw LINE...: as it is.
draw() { printf '%s\n' "$@"; }

# quoted ARGUMENT...: as one would type it.
quoted() {
	local argument text=
	for argument in "$@"; do
		if [[ $argument =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]]; then text+=" $argument"; else text+=" '$argument'"; fi
	done
	printf '%s' "${text# }"
}

show() { printf '\n  %s$ %s%s\n' "$bold" "$*" "$plain"; }

# run COMMAND...: shows the command, runs it, and shows what it says.
run() {
	show "$(quoted "$@")"
	"$@" 2>&1 | sed "s/^/    $dim/; s/\$/$plain/"
}

size_of() { du -sh "$1" | cut -f 1; }

# Prints `<directory number> <what it is for>` for every snapshot that containerd knows.
owners() {
	local key parent kind number name
	local -A containers=()
	while read -r key name; do
		containers[$key]=$name
	done < <(nerdctl ps --all --no-trunc --format '{{.ID}} {{.Names}}')
	while read -r key parent kind; do
		[[ -n $kind ]] || kind=$parent
		number=$(ctr snapshots info "$key" | sed -n 's,.*overlay\.upperdir": ".*/l/\([0-9a-z]*\)/fs".*,\1,p')
		case $kind in
		Committed) name=${layer_names[$key]:-a layer} ;;
		*) name="container ${containers[$key]:-(on its way)}: what it writes" ;;
		esac
		printf '%s %s\n' "$number" "$name"
	done < <(ctr snapshots list | tail -n +2)
}

# Prints the numbers of all directories, in the order in which they were made. They are base 36: shorter ones are smaller.
directories() {
	find pool/l -mindepth 1 -maxdepth 1 -printf '%f\n' | awk '{ print length, $0 }' | sort -k 1n -k 2 | cut -d ' ' -f 2
}

# draw_directories: the directories that exist, what each is for, and what came and went since the last picture.
draw_directories() {
	local -A now=()
	local -a numbers=()
	local number name mark color tree index=0
	while read -r number name; do
		now[$number]=$name
	done < <(owners)
	mapfile -t numbers < <(directories)
	printf '\n  pool/l/   %s\n' "$(count "${#numbers[@]}")"
	for number in "${numbers[@]}"; do
		index=$((index + 1))
		tree=$branch mark='   ' color=
		((index < ${#numbers[@]})) || tree=$last
		[[ -v drawn[$number] ]] || mark='new' color=$green
		# Of what containerd has removed, it knows no name any more.
		[[ -n ${now[$number]:-} ]] || now[$number]="${drawn[$number]:-}, retained"
		printf '  %s %s%-4s %s %6s   %s%s\n' "$tree" "$color" "$number" "$mark" "$(size_of "pool/l/$number/fs")" \
			"${now[$number]:-}" "$plain"
	done
	for number in "${!drawn[@]}"; do
		[[ -e pool/l/$number ]] || printf '      %s%-4s gone         %s%s\n' "$red" "$number" "${drawn[$number]}" "$plain"
	done
	drawn=()
	for number in "${numbers[@]}"; do
		drawn[$number]=${now[$number]:-}
	done
}

count() {
	case $1 in
	0) echo "empty" ;;
	1) echo "1 directory, $(size_of pool/l)" ;;
	*) echo "$1 directories, $(size_of pool/l)" ;;
	esac
}

# draw_stack CONTAINER: the directories that a running container sees as one, from the kernel's own table of mounts.
draw_stack() {
	local options number rule index=0 text
	options=$(sed -n "s,.* - overlay .*\(lowerdir=[^ ]*\),\1,p" /proc/self/mountinfo | grep -F "/pool/l/" | tail -n 1)
	rule=$(printf -- "$line%.0s" {1..74})
	printf '\n  the container looks from above, and sees one tree of files: /\n  %s%s\n' "$box_top" "$rule"
	while read -r number; do
		index=$((index + 1))
		case $index in
		1) text="upperdir: what the container itself wrote" ;;
		*) text="lowerdir: ${drawn[$number]}" ;;
		esac
		[[ $index != 2 ]] || printf '  %s%s\n' "$box_mid" "$rule"
		printf '  %s  l/%s/fs   %s\n' "$side" "$number" "$text"
		[[ $index != 1 ]] || draw_writes "pool/l/$number/fs"
	done < <(grep -o 'upperdir=[^, ]*' <<<"$options" | numbers_of && grep -o 'lowerdir=[^, ]*' <<<"$options" | numbers_of)
	printf '  %s%s\n' "$box_low" "$rule"
}

numbers_of() { grep -o '[0-9a-z]*/fs' | cut -d / -f 1; }

# draw_writes DIRECTORY: the files in an upperdir. A deleted file is a character device, 0/0.
draw_writes() {
	local file about
	while read -r file; do
		if [[ -c $1/$file ]]; then
			about="a marker: this file of the image is deleted"
		elif [[ $file =~ ^etc/(hostname|hosts|resolv.conf)$ ]]; then
			about="empty: nerdctl puts a file of its own over it"
		else
			about="$(stat -c '%s bytes' "$1/$file"): $(head -c 40 "$1/$file" | head -n 1)"
		fi
		printf '  %s          /%-18s %s\n' "$side" "$file" "$about"
	done < <(find "$1" -mindepth 1 -not -type d -printf '%P\n' | sort)
}
