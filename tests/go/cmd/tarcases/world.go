package main

import (
	"math/rand/v2"
	"path"
	"slices"
	"strings"
)

// world is what a program that unpacked the layers so far would have made, as far as it can be told without following
// symbolic links. It lets most random archives be ones that can be unpacked at all.
type world struct {
	*rand.Rand
	// below is what the layers before this one show, here is what this one made. The values are type flags; 'w' is a
	// whiteout.
	below, here map[string]byte
	// entries are the paths of this layer that had an entry.
	entries map[string]bool
	// wild allows what most likely cannot be unpacked.
	wild bool
}

func newWorld(seed uint64) *world {
	return &world{
		Rand: rand.New(rand.NewPCG(seed, 7)), below: map[string]byte{}, here: map[string]byte{}, entries: map[string]bool{},
	}
}

// chance is true so many times of a hundred.
func (w *world) chance(percent int) bool { return w.IntN(100) < percent }

func pick[T any](w *world, from ...T) T { return from[w.IntN(len(from))] }

// nextLayer makes what is here part of what is below.
func (w *world) nextLayer() {
	for _, name := range sortedKeys(w.here) {
		w.below[name] = w.here[name]
		if w.here[name] != '5' {
			forgetBelow(w.below, name)
		}
		if w.here[name] == 'w' {
			delete(w.below, name)
		}
	}
	w.here, w.entries = map[string]byte{}, map[string]bool{}
}

// put records that the entry was made, with the directories on the way to it.
func (w *world) put(name string, flag byte) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if w.here[dir] == 0 {
			w.here[dir] = '5'
		}
	}
	if flag != '5' || w.here[name] != '5' {
		forgetBelow(w.here, name)
	}
	w.here[name] = flag
	w.entries[name] = true
}

func forgetBelow(of map[string]byte, dir string) {
	for name := range of {
		if strings.HasPrefix(name, dir+"/") {
			delete(of, name)
		}
	}
}

// Few names, so that entries meet; some of them are odd.
var (
	plainNames = []string{"a", "b", "c", "d", "e", "f"}
	oddNames   = []string{
		"ä", "x y", "new\nline", "-", "...", ".hidden", "wh.a", ".wh", "back\\slash", "\xff\xfe", "a:b", "a=b", "tab\t",
		strings.Repeat("n", 255), strings.Repeat("l", 99), strings.Repeat("m", 101), "漢字",
	}
)

func (w *world) name() string {
	if w.chance(7) {
		return pick(w, oddNames...)
	}
	return pick(w, plainNames...)
}

// dir returns "" or a path of a directory, which need not be there.
func (w *world) dir() string {
	var known []string
	for _, name := range sortedKeys(w.here) {
		if w.here[name] == '5' || w.chance(10) && w.here[name] == '2' || w.wild && w.chance(10) {
			known = append(known, name)
		}
	}
	for _, name := range sortedKeys(w.below) {
		if w.below[name] == '5' && (w.here[name] == 0 || w.here[name] == '5') {
			known = append(known, name)
		}
	}
	switch {
	case w.chance(30):
		return ""
	case len(known) > 0 && w.chance(85):
		return pick(w, known...)
	}
	dir := w.name()
	for range w.IntN(3) {
		dir += "/" + w.name()
	}
	// What is no directory cannot have one below it.
	for at := dir; at != "."; at = path.Dir(at) {
		if flag := w.here[at]; flag != 0 && flag != '5' && !w.wild {
			return ""
		}
		if flag := w.below[at]; flag != 0 && flag != '5' && w.here[at] == 0 && !w.wild {
			return ""
		}
	}
	return dir
}

// fresh returns a path for an entry that makes something, of this flag.
func (w *world) fresh(flag byte) string {
	for range 20 {
		name := path.Join(w.dir(), w.name())
		if w.chance(25) {
			if known := sortedKeys(w.here); len(known) > 0 {
				name = pick(w, known...)
			}
		}
		if w.wild || flag == '5' || !w.hidesEntries(name) {
			return name
		}
	}
	return w.name()
}

// hidesEntries says whether a file in the place of name would remove a directory whose time is still to be set.
func (w *world) hidesEntries(name string) bool {
	for at := range w.entries {
		if at == name && w.here[at] == '5' || strings.HasPrefix(at, name+"/") {
			return true
		}
	}
	return false
}

// known returns a path that was made before, in this layer or below it.
func (w *world) known() (string, bool) {
	names := append(sortedKeys(w.here), sortedKeys(w.below)...)
	if len(names) == 0 {
		return "", false
	}
	return pick(w, names...), true
}

// decorate returns another way to write the path.
func (w *world) decorate(name string) string {
	switch w.IntN(30) {
	case 0:
		return "./" + name
	case 1:
		return "/" + name
	case 2:
		return strings.Replace(name, "/", "//", 1)
	case 3:
		return strings.Replace(name, "/", "/./", 1)
	case 4:
		return "nowhere/../" + name
	case 5:
		return "../../" + name
	case 6:
		return "/../" + name
	case 7:
		return "./././" + name + "/."
	default:
		return name
	}
}

func sortedKeys(of map[string]byte) []string {
	names := make([]string, 0, len(of))
	for name := range of {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
