package main

import (
	"fmt"
	"path"
	"strings"
)

// randomCase makes a chain of one to four layers.
func randomCase(seed uint64) []*archive {
	w := newWorld(seed)
	w.wild = w.chance(20)
	var layers []*archive
	for range 1 + min(w.IntN(4), w.IntN(4)) {
		a := &archive{}
		for range 1 + w.IntN(14) {
			w.addRandom(a)
		}
		w.end(a)
		layers = append(layers, a)
		w.nextLayer()
	}
	if w.wild && w.chance(40) {
		w.damage(layers[len(layers)-1])
	}
	return layers
}

// addRandom adds one entry of a random kind.
func (w *world) addRandom(a *archive) {
	switch n := w.IntN(100); {
	case n < 30:
		w.addFile(a)
	case n < 52:
		w.addDir(a)
	case n < 64:
		w.addSymlink(a)
	case n < 74:
		w.addHardLink(a)
	case n < 79:
		w.addSpecial(a)
	case n < 88:
		w.addWhiteout(a)
	case n < 92:
		w.addOpaque(a)
	case n < 96:
		w.addSparse(a)
	case n < 98:
		w.addMeta(a)
	default:
		w.addOdd(a)
	}
}

// entry fills in what every kind has.
func (w *world) entry(flag byte, name string, mode int64) entry {
	e := entry{flag: flag, name: w.decorate(name), mode: w.mode(mode), uid: w.owner(), gid: w.owner(), style: w.style()}
	e.mtime, e.nsec = w.time()
	if w.chance(5) {
		e.atime = pick(w, int64(1), 1234567890, 1600000000)
	}
	if w.chance(12) {
		e.xattrs = w.xattrs(flag)
	}
	return e
}

func (w *world) style() style { return pick(w, pax, pax, pax, gnuStyle, ustarStyle, v7Style) }

func (w *world) addFile(a *archive) {
	name := w.fresh('0')
	e := w.entry('0', name, 0o644)
	e.content = w.content()
	if e.style == v7Style && w.chance(50) {
		e.flag = 0
	}
	a.add(e)
	w.put(name, '0')
}

func (w *world) content() string {
	size := pick(w, 0, 1, 5, 511, 512, 513, 1024, 3000)
	var b strings.Builder
	for b.Len() < size {
		fmt.Fprintf(&b, "%d ", w.Uint32())
	}
	return b.String()[:size]
}

func (w *world) addDir(a *archive) {
	name := w.fresh('5')
	e := w.entry('5', name, 0o755)
	if w.chance(70) {
		e.name += "/"
		// Old archives know directories by the slash alone.
		if e.style == v7Style && w.chance(50) {
			e.flag = 0
		}
	}
	a.add(e)
	w.put(name, '5')
}

func (w *world) addSymlink(a *archive) {
	name := w.fresh('2')
	e := w.entry('2', name, 0o777)
	known, ok := w.known()
	switch n := w.IntN(20); {
	case n < 7 && ok:
		e.link = known
	case n < 10 && ok:
		e.link = "/" + known
	case n < 12 && ok:
		e.link = strings.Repeat("../", w.IntN(4)) + known
	case n == 12:
		e.link = path.Base(name)
	default:
		e.link = pick(w, ".", "..", "/", "../../../..", "a", "b", "/c/d", "nowhere", "/nowhere/at/all", "./a/../b", "a/",
			strings.Repeat("t", 150), strings.Repeat("deep/", 60)+"x", "ä", "//a//b")
	}
	a.add(e)
	w.put(name, '2')
}

func (w *world) addHardLink(a *archive) {
	name := w.fresh('1')
	var targets []string
	for _, at := range sortedKeys(w.here) {
		if flag := w.here[at]; flag != '5' && flag != 'w' && at != name {
			targets = append(targets, at)
		}
	}
	e := w.entry('1', name, 0o644)
	switch {
	case w.wild && w.chance(30):
		e.link = pick(w, "nowhere", "", "/", ".", "..", "../..", "../x", name, "a/", "a/..", "nowhere/x")
		if known, ok := w.known(); ok && w.chance(50) {
			e.link = known
		}
	case len(targets) == 0:
		w.addFile(a)
		return
	default:
		e.link = w.decorateLink(pick(w, targets...))
	}
	if strings.HasPrefix(e.link, name+"/") || e.link == name {
		if !w.wild {
			w.addFile(a)
			return
		}
	}
	// Some writers repeat the size of the file, without its bytes.
	if w.chance(10) {
		e.more = []record{{"size", "700"}}
	}
	a.add(e)
	w.put(name, '1')
}

// decorateLink is decorate for targets, whose last component counts as it is.
func (w *world) decorateLink(name string) string {
	switch w.IntN(16) {
	case 0:
		return "./" + name
	case 1:
		return "/" + name
	case 2:
		return "../" + name
	case 3:
		return strings.Replace(name, "/", "//", 1)
	default:
		return name
	}
}

func (w *world) addSpecial(a *archive) {
	flag := pick(w, byte('3'), '4', '6')
	name := w.fresh(flag)
	e := w.entry(flag, name, 0o660)
	if flag != '6' {
		e.major = pick(w, int64(0), 1, 5, 255, 4095)
		e.minor = pick(w, int64(0), 3, 255, 256, 1048575)
		if w.wild && w.chance(20) {
			e.major, e.minor = pick(w, int64(4096), -1, 1<<32), pick(w, int64(1<<20), -1)
		}
	}
	a.add(e)
	w.put(name, flag)
}

func (w *world) addWhiteout(a *archive) {
	name := path.Join(w.dir(), w.name())
	var below []string
	for _, at := range sortedKeys(w.below) {
		if w.here[at] == 0 {
			below = append(below, at)
		}
	}
	if len(below) > 0 && w.chance(70) {
		name = pick(w, below...)
	}
	if !w.wild && (w.here[name] != 0 || w.here[path.Dir(name)] != 0 && w.here[path.Dir(name)] != '5') || len(path.Base(name)) > 251 {
		return
	}
	hidden := path.Base(name)
	if w.wild && w.chance(15) {
		hidden = pick(w, "", ".", "..", ".wh.a", ".wh..plnk", "..opq", "../a")
	}
	e := w.entry(pick(w, byte('0'), '0', '0', '0', '5', '2', '1'), path.Join(path.Dir(name), ".wh."+hidden), 0)
	if e.flag == '1' || e.flag == '2' {
		e.link = "/.wh..wh.aufs/0"
	}
	if e.flag == '0' && w.chance(5) {
		e.content = "a whiteout has no content"
	}
	a.add(e)
	w.put(name, 'w')
}

func (w *world) addOpaque(a *archive) {
	dir := w.dir()
	e := w.entry(pick(w, byte('0'), '0', '0', '5'), path.Join(dir, ".wh..wh..opq"), 0)
	a.add(e)
	if dir != "" {
		w.put(dir, '5')
		delete(w.entries, dir)
	}
}

func (w *world) addSparse(a *archive) {
	name := w.fresh('0')
	s := sparse{entry: w.entry('0', name, 0o640)}
	var at int64
	for range w.IntN(7) {
		at += pick(w, int64(0), 1, 512, 4096, 10000)
		length := pick(w, int64(0), 1, 512, 1000, 4096)
		s.regions = append(s.regions, region{at, length})
		s.content += strings.Repeat(string(rune('a'+w.IntN(26))), int(length))
		at += length
	}
	s.size = at + pick(w, int64(0), 0, 1, 5000)
	if w.wild && w.chance(50) {
		s = w.broken(s)
	}
	s.name = w.decorate(name)
	switch w.IntN(7) {
	case 0:
		if !w.wild {
			a.addSparse1(s)
		} else {
			a.addOldGNU(s)
		}
	case 1, 2:
		a.addSparse0(s, false)
	case 3, 4:
		a.addSparse0(s, true)
	default:
		a.addSparse1(s)
	}
	w.put(name, '0')
}

// broken makes the parts of a sparse file contradict each other.
func (w *world) broken(s sparse) sparse {
	switch w.IntN(6) {
	case 0:
		s.size--
	case 1:
		s.content += "x"
	case 2:
		s.content = s.content[:len(s.content)/2]
	case 3:
		s.regions = append(s.regions, region{0, 1})
	case 4:
		s.regions = append(s.regions, region{1 << 62, 1 << 62})
	default:
		s.regions = append(s.regions, region{-1, 5})
	}
	return s
}

// addMeta adds headers that are about others.
func (w *world) addMeta(a *archive) {
	switch w.IntN(5) {
	case 0:
		a.extended('g', record{"comment", "of all"}, record{"mtime", "5"}, record{"path", "global"})
	case 1:
		// The second one takes the place of the first.
		a.extended('x', record{"mtime", "1000000000.5"}, record{"SCHILY.xattr.user.first", "1"})
		a.extended('x', record{"comment", "second"})
	case 2:
		a.extended('x', record{"path", w.fresh('0')}, record{"uid", "77"})
	case 3:
		a.gnuLong('L', w.fresh('0'))
	default:
		a.gnuLong('L', "replaced")
		a.gnuLong('L', w.fresh('0'))
	}
	if w.chance(80) {
		name := w.fresh('0')
		e := w.entry('0', name, 0o600)
		e.style, e.content = ustarStyle, w.content()
		a.add(e)
		w.put(name, '0')
	}
}

// addOdd adds what hardly anybody writes.
func (w *world) addOdd(a *archive) {
	name := w.fresh('0')
	e := w.entry('0', name, 0o644)
	switch n := w.IntN(12); {
	case n == 0 && w.wild:
		e.flag = pick(w, byte('7'), 'D', 'M', 'N', 'V', 'A', 'X', 'Z', ' ', '8', '9', 0x80)
	case n == 1:
		name, e.name = "", pick(w, "", ".", "./", "/", "..", "../", "//", "./.")
	case n == 2:
		e.name += "/"
		e.content = "the slash is left out"
	case n == 3:
		e.style, e.content, e.more = pax, "abc", []record{{"size", "3"}}
	case n == 4:
		e.more = []record{{"comment", "x"}, {"SCHILY.fflags", "nodump"}, {"LIBARCHIVE.xattr.user.b", "dg=="}, {"atime", ""},
			{"path", ""}, {"uid", ""}}
	case n == 5:
		e.mode = pick(w, int64(0o100644), 0o40755, 0o120777, 0o170000, -1, 1<<40)
	case n == 6 && w.wild:
		name, e.name = "", strings.Repeat("d/", 600)+"deep"
	case n == 7 && w.wild:
		name, e.name = "", pick(w, strings.Repeat("n", 256), strings.Repeat("n", 300)+"/a", "a/"+strings.Repeat("n", 256))
	case n == 8:
		e.more = []record{{"mtime", pick(w, "1.", "1.5000000009", "-1.5", "-0.5", "0.000000001", "+7")}}
	case n == 9 && w.wild:
		e.more = []record{{pick(w, "mtime", "uid", "gid", "size", "atime", "ctime"), pick(w, "x", "1e3", " 5", "0x10", "-", "1.x",
			"99999999999999999999")}}
	case n == 10:
		// A directory has no content, whatever the size says.
		e.flag, e.more = '5', []record{{"size", "1000"}}
	default:
		e.more = []record{{"uid", pick(w, "+5", "0007", "-0")}, {"gid", "42"}}
	}
	a.add(e)
	if name != "" {
		w.put(name, e.flag)
	}
}
