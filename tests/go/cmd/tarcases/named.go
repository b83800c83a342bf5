package main

import (
	"slices"
	"strings"
)

// namedCase shows one thing.
type namedCase struct {
	name   string
	layers []*archive
}

// chain makes a case, a layer of each function. Archives end as they should.
func chain(name string, layers ...func(*archive)) namedCase {
	c := namedCase{name: name}
	for _, fill := range layers {
		a := &archive{}
		fill(a)
		a.end()
		c.layers = append(c.layers, a)
	}
	return c
}

// cut makes a case of one layer that ends where the function leaves it.
func cut(name string, fill func(*archive)) namedCase {
	a := &archive{}
	fill(a)
	return namedCase{name, []*archive{a}}
}

// of makes a layer of these entries.
func of(entries ...entry) func(*archive) {
	return func(a *archive) {
		for _, e := range entries {
			a.add(e)
		}
	}
}

const someTime = 1_234_567_890

func file(name, content string) entry {
	return entry{flag: '0', name: name, content: content, mode: 0o644, uid: 1, gid: 2, mtime: someTime, nsec: 123_456_789}
}

func dir(name string) entry {
	return entry{flag: '5', name: name + "/", mode: 0o750, uid: 3, gid: 4, mtime: someTime + 1, nsec: 1}
}

func symlink(name, link string) entry {
	return entry{flag: '2', name: name, link: link, mode: 0o777, uid: 5, gid: 6, mtime: someTime + 2}
}

func hardLink(name, link string) entry {
	return entry{flag: '1', name: name, link: link, mode: 0o600, uid: 7, gid: 8, mtime: someTime + 3}
}

func special(flag byte, name string, major, minor int64) entry {
	return entry{flag: flag, name: name, mode: 0o4660, uid: 9, gid: 10, mtime: someTime + 4, major: major, minor: minor}
}

func whiteout(name string) entry {
	return entry{flag: '0', name: name, mode: 0, uid: 11, gid: 12, mtime: someTime + 5}
}

func (e entry) with(records ...record) entry {
	e.more = append(slices.Clone(e.more), records...)
	return e
}

func (e entry) xattr(key, value string) entry {
	e.xattrs = append(slices.Clone(e.xattrs), record{key, value})
	return e
}

func (e entry) modeOf(mode int64) entry {
	e.mode = mode
	return e
}

func namedCases() []namedCase {
	return slices.Concat(nameCases(), linkCases(), whiteoutCases(), parentCases(), replaceCases(), attributeCases(), sparseCases(),
		formatCases(), brokenCases())
}

func nameCases() []namedCase {
	long, longer := strings.Repeat("n", 255), strings.Repeat("n", 256)
	cases := []namedCase{
		chain("name-255", of(file(long, "x"), file("a/"+long+"/"+long, "x"))),
		chain("name-256", of(file(longer, "x"))),
		chain("name-256-parent", of(file(longer+"/a", "x"))),
		chain("name-256-target", of(symlink("a", longer), hardLink("b", longer))),
		chain("path-of-many-components", of(file(strings.Repeat("d/", 1000)+"x", "x"))),
		chain("path-of-4000-bytes", of(file(strings.Repeat(strings.Repeat("d", 199)+"/", 19)+"x", "x"))),
		chain("path-of-5000-bytes", of(file(strings.Repeat(strings.Repeat("d", 199)+"/", 25)+"x", "x"))),
		chain("names-of-the-root", of(dir("."), dir(""), file("..", "x"), file("/", "x"), file("./.", "x"), file("", "x"),
			file("a/..", "x"), file("a/../..", "x"))),
		chain("names-not-clean", of(file("./a/./b", "1"), file("//c//d", "2"), file("e/../f", "3"), file("/../g/../../h", "4"),
			dir("i/j/.."), file("k/", "5"), file("l/.", "6"))),
		chain("names-not-text", of(file("\xff\xfe\x01", "x"), file("new\nline", "x"), file("back\\slash", "x"), file(" ", "x"))),
		chain("name-with-nul", func(a *archive) {
			a.extended('x', record{"path", "a\x00b"})
			a.add(file("c", "x"))
		}),
		chain("gnu-name-with-nul", func(a *archive) {
			a.gnuLong('L', "a\x00b")
			a.add(file("c", "x"))
		}),
		chain("gnu-name-empty", func(a *archive) {
			a.block(header{name: "././@LongLink", flag: 'L', magic: gnu})
			a.add(file("c", "x"))
		}),
		chain("gnu-name-and-pax-path", func(a *archive) {
			a.extended('x', record{"path", "from-pax"})
			a.gnuLong('L', "from-gnu")
			a.add(entry{flag: '0', name: "c", style: ustarStyle})
		}),
		chain("old-directory-by-its-slash", func(a *archive) { a.block(header{name: "a/", mode: 0o755, magic: v7}) }),
		chain("name-in-prefix", func(a *archive) { a.block(header{prefix: "a/b", name: "c", flag: '0'}) }),
		chain("name-in-prefix-of-star", func(a *archive) { a.block(header{prefix: "a/b", name: "c", flag: '0', magic: star}) }),
		chain("name-fills-its-field", of(entry{flag: '0', name: strings.Repeat("f", 100), style: ustarStyle})),
	}
	return cases
}

func linkCases() []namedCase {
	return []namedCase{
		chain("link-to-earlier", of(file("a", "x"), hardLink("b", "a"), hardLink("d/c", "/a"), hardLink("e", "./b"))),
		chain("link-to-missing", of(hardLink("b", "a"))),
		chain("link-to-later", of(hardLink("b", "a"), file("a", "x"))),
		chain("link-to-itself", of(file("a", "x"), hardLink("a", "a"))),
		chain("link-to-directory", of(dir("a"), hardLink("b", "a"))),
		chain("link-to-root", of(hardLink("b", "."))),
		chain("link-to-nothing", of(hardLink("b", ""))),
		chain("link-to-parent", of(hardLink("b", ".."))),
		chain("link-out", of(hardLink("b", "../../../../etc/passwd"))),
		chain("link-to-lower", of(file("a", "x")), of(hardLink("b", "a"))),
		chain("link-to-symlink", of(file("a", "x"), symlink("l", "a"), hardLink("b", "l"))),
		chain("link-to-symlink-with-slash", of(file("a", "x"), symlink("l", "a"), hardLink("b", "l/"))),
		chain("link-to-file-with-slash", of(file("a", "x"), hardLink("b", "a/"))),
		chain("link-through-symlink", of(file("d/a", "x"), symlink("l", "d"), hardLink("b", "l/a"))),
		chain("link-through-absolute-symlink", of(file("d/a", "x"), symlink("l", "/d"), hardLink("m/b", "l/a"))),
		chain("link-to-fifo", of(special('6', "a", 0, 0), hardLink("b", "a"))),
		chain("link-to-device", of(special('3', "a", 1, 3), hardLink("b", "a"))),
		chain("link-to-whiteout", of(whiteout(".wh.a"), hardLink("b", "a"))),
		chain("link-with-xattr-and-acl", of(file("a", "x"), hardLink("b", "a").xattr("user.a", "1").xattr("system.posix_acl_access", accessACL))),
		chain("link-with-size", of(file("a", "x"), hardLink("b", "a").with(record{"size", "1000"}), file("c", "y"))),
		chain("link-over-its-target", of(file("a", "x"), hardLink("b", "a"), hardLink("a", "b"))),
		chain("link-over-directory", of(file("a", "x"), file("d/e", "y"), hardLink("d", "a"))),
		chain("links-changed-by-one", of(file("a", "x"), hardLink("b", "a"), file("a", "other"))),

		chain("symlink-dangling", of(symlink("a", "nowhere"), symlink("b", "/nowhere/at/all"), symlink("c", "../../.."))),
		chain("symlink-to-nothing", of(symlink("a", ""))),
		chain("symlink-of-4095-bytes", of(symlink("a", strings.Repeat("t", 4095)))),
		chain("symlink-of-4096-bytes", of(symlink("a", strings.Repeat("t", 4096)))),
		chain("symlink-loop-as-parent", of(symlink("a", "b"), symlink("b", "a"), file("a/x", "x"))),
		// As text it leads to a/b, and containerd takes it for that, except where it leaves it to the kernel.
		chain("symlink-loop-for-the-kernel", of(symlink("a/l", "./l/../b"), symlink("d", "a/l"), dir("d/e"))),
		chain("symlink-to-itself-as-parent", of(symlink("a", "a"), file("a/x", "x"))),
		chain("symlink-as-parent", of(dir("d"), symlink("a", "d"), file("a/x", "x"))),
		chain("symlink-absolute-as-parent", of(dir("d"), symlink("e/a", "/d"), file("e/a/x", "x"))),
		chain("symlink-dotdot-as-parent", of(dir("d"), symlink("e/a", "../d"), file("e/a/x", "x"))),
		chain("symlink-dangling-as-parent", of(symlink("a", "/n/o"), file("a/x/y", "x"))),
		chain("symlink-out-as-parent", of(symlink("a", "../../../../../tmp"), file("a/x", "x"), file("a/../y", "y"))),
		chain("symlink-to-root-as-parent", of(symlink("a", "/"), file("a/x", "x"), dir("a/d"))),
		chain("symlink-to-file-as-parent", of(file("f", "x"), symlink("a", "f"), file("a/x", "x"))),
		chain("symlinks-in-a-row", of(dir("d"), symlink("a", "b"), symlink("b", "c"), symlink("c", "./d"), file("a/x", "x"))),
		chain("symlink-replaced-by-directory", of(dir("d"), symlink("a", "d"), dir("a"), file("a/x", "x"))),
		chain("symlink-in-place-of-its-directory", of(dir("a"), symlink("a", "b"), dir("b"))),
		chain("symlink-in-lower", of(dir("d"), symlink("a", "d")), of(file("a/x", "x"))),
		chain("symlink-with-xattr", of(symlink("a", "b").xattr("user.a", "1"), symlink("c", "d").xattr("security.a", "1"))),
		chain("symlink-mode", of(symlink("a", "b").modeOf(0o4000), file("b", "x").modeOf(0o600))),
		chain("symlink-over-file", of(file("a", "x"), symlink("a", "b"), file("b", "y"), file("a", "z"))),
	}
}

func parentCases() []namedCase {
	lower := of(dir("a").modeOf(0o2711).xattr("user.a", "1"), dir("a/b").modeOf(0o1700), file("a/f", "x"), dir("a/c"))
	return []namedCase{
		chain("implicit", of(file("a/b/c", "x"), dir("d/e"), symlink("f/g", "h"), special('6', "i/j", 0, 0))),
		chain("implicit-above-lower", lower, of(file("a/b/c", "x"))),
		chain("implicit-above-two", lower, of(dir("a").modeOf(0o777)), of(file("a/b/c", "x"))),
		chain("implicit-above-file", lower, of(file("a/f/c", "x"))),
		chain("implicit-above-whiteout", lower, of(whiteout(".wh.a")), of(file("a/b/c", "x"))),
		chain("implicit-above-opaque", lower, of(whiteout("a/.wh..wh..opq")), of(file("a/b/c", "x"))),
		chain("implicit-above-symlink", of(dir("a").modeOf(0o711), symlink("l", "a")), of(file("l/b", "x"))),
		chain("implicit-above-symlink-inside", of(dir("a/b").modeOf(0o711), symlink("a/l", "/a/b")), of(file("a/l/c", "x"))),
		chain("implicit-then-entry", of(file("a/b", "x"), dir("a"))),
		chain("implicit-in-setgid", of(dir("a").modeOf(0o2755), file("a/b/c", "x"), dir("a/d"), file("a/e", "x"), symlink("a/g", "h"))),
		chain("implicit-in-default-acl", of(dir("a").xattr("system.posix_acl_default", accessACL), file("a/b/c", "x"), dir("a/d"),
			special('6', "a/p", 0, 0), symlink("a/l", "b"))),
		chain("implicit-for-whiteout", lower, of(whiteout("a/b/.wh.x"), whiteout("a/c/.wh..wh..opq"))),
		chain("implicit-with-capability-below", of(dir("a").xattr("security.capability", capability)), of(file("a/x", "x"))),
		chain("parent-is-file", of(file("a", "x"), file("a/b", "y"))),
		chain("parent-is-fifo", of(special('6', "a", 0, 0), file("a/b", "y"))),
		chain("parent-is-whiteout", of(whiteout(".wh.a"), file("a/b", "y"))),
		chain("parent-without-rights", of(dir("a").modeOf(0), file("a/b", "y"), dir("a/c").modeOf(0), file("a/c/d", "z"))),
		chain("directory-times", of(dir("a"), dir("a/b"), file("a/b/c", "x"), file("a/d", "y"), dir("a"), dir("e"), file("e/f/g", "z"))),
		chain("directory-twice", of(dir("a").modeOf(0o700), file("a/x", "x"), dir("a").modeOf(0o711).xattr("user.a", "1"))),
		chain("directory-keeps-xattr", of(dir("a").xattr("user.a", "1"), dir("a").xattr("user.b", "2"))),
		chain("root-entry", of(dir("."), file("./a", "x"))),
	}
}

func replaceCases() []namedCase {
	tree := of(dir("a"), file("a/b", "x"), dir("a/c"), file("a/c/d", "y"))
	return []namedCase{
		chain("file-over-directory", tree, of(file("a", "x"))),
		chain("file-over-directory-in-one", of(file("a/b", "x"), file("a/c/d", "y"), file("a", "z"))),
		chain("file-over-directory-with-entries", of(dir("a"), dir("a/b"), file("a", "z"))),
		chain("file-over-directory-with-entry", of(dir("a"), file("a", "z"))),
		chain("file-over-directory-and-back", of(dir("a"), file("a", "z"), dir("a"), file("a/b", "x"))),
		chain("directory-over-file", of(file("a", "x")), of(dir("a"), file("a/b", "x"))),
		chain("directory-over-file-in-one", of(file("a", "x"), dir("a"), file("a/b", "x"))),
		chain("directory-over-symlink-to-directory", of(dir("d"), file("d/x", "x"), symlink("a", "d"), dir("a"), file("a/y", "y"))),
		chain("fifo-over-directory", of(file("a/b", "x"), special('6', "a", 0, 0))),
		chain("device-over-file", of(file("a", "x"), special('4', "a", 8, 1))),
		chain("file-over-device", of(special('3', "a", 1, 3), file("a", "x"))),
		chain("file-over-fifo", of(special('6', "a", 0, 0), file("a", "x"))),
		chain("file-twice", of(file("a", "a longer text"), file("a", "x").xattr("user.a", "1"), file("a", "y"))),
		chain("file-over-symlink-out", of(symlink("a", "/nowhere"), file("a", "x"))),
		chain("file-over-whiteout", of(file("a", "x")), of(whiteout(".wh.a"), file("a", "y"))),
		chain("symlink-over-directory", of(dir("a"), file("a/b", "x"), symlink("a", "c"), dir("c"))),
		chain("parent-replaced", of(dir("a/b"), symlink("a", "c"), file("a/b/x", "x"), dir("c"))),
	}
}
