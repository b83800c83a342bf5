package main

import (
	"strings"
)

func whiteoutCases() []namedCase {
	lower := of(dir("a"), file("a/b", "x"), file("a/c/d", "y"), file("e", "z"), symlink("l", "a"))
	opaque := whiteout("a/.wh..wh..opq")
	return []namedCase{
		chain("whiteout", lower, of(whiteout(".wh.e"), whiteout("a/.wh.b"))),
		chain("whiteout-of-directory", lower, of(whiteout(".wh.a"))),
		chain("whiteout-of-nothing", of(whiteout(".wh.nowhere"), whiteout("x/.wh.y"))),
		chain("whiteout-twice", of(whiteout(".wh.a"), whiteout(".wh.a"))),
		chain("whiteout-before-its-file", lower, of(whiteout(".wh.e"), file("e", "new"))),
		chain("whiteout-after-its-file", lower, of(file("e", "new"), whiteout(".wh.e"))),
		chain("whiteout-before-its-directory", lower, of(whiteout(".wh.a"), dir("a"), file("a/new", "x"))),
		chain("whiteout-after-its-directory", lower, of(dir("a"), file("a/new", "x"), whiteout(".wh.a"))),
		chain("whiteout-through-symlink", lower, of(dir("a"), symlink("l", "a"), whiteout("l/.wh.b"))),
		chain("whiteout-of-symlink", lower, of(whiteout(".wh.l"))),
		chain("whiteout-in-lower-only-directory", lower, of(whiteout("a/c/.wh.d"))),
		chain("whiteout-is-directory", lower, of(dir(".wh.e"))),
		chain("whiteout-is-link", lower, of(hardLink(".wh.e", ".wh..wh.aufs"))),
		chain("whiteout-has-content", lower, of(file(".wh.e", "content"), file("f", "x"))),
		chain("whiteout-has-xattr", lower, of(whiteout(".wh.e").xattr("user.a", "1"))),
		chain("whiteout-of-no-name", of(whiteout(".wh."))),
		chain("whiteout-of-dot", of(whiteout(".wh.."))),
		chain("whiteout-of-dotdot", of(dir("a"), whiteout("a/.wh..."))),
		chain("whiteout-of-whiteout", of(whiteout(".wh..wh.a"))),
		chain("whiteout-of-aufs", of(dir(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", "x"), file(".wh..wh.aufs", "x"))),
		chain("whiteout-as-parent", of(file(".wh.a/b", "x"))),
		chain("whiteout-as-target", of(file("a", "x"), hardLink("b", ".wh.a"))),
		chain("whiteout-of-255", of(whiteout(".wh."+strings.Repeat("n", 251)))),
		chain("whiteout-of-256", of(whiteout(".wh."+strings.Repeat("n", 252)))),
		chain("whiteout-parent-missing", lower, of(whiteout("n/o/.wh.x"))),
		chain("whiteout-parent-is-file", lower, of(file("e", "x"), whiteout("e/.wh.x"))),
		chain("whiteout-by-device", lower, of(special('3', "e", 0, 0), special('3', "n", 0, 0))),
		chain("opaque", lower, of(dir("a"), opaque, file("a/new", "x"))),
		chain("opaque-first", lower, of(opaque, dir("a"), file("a/new", "x"))),
		chain("opaque-last", lower, of(dir("a"), file("a/new", "x"), file("a/deep/er", "x"), dir("a/has-entry"), opaque)),
		chain("opaque-twice", lower, of(opaque, file("a/new", "x"), opaque)),
		chain("opaque-alone", lower, of(opaque)),
		chain("opaque-of-root", lower, of(file("new", "x"), whiteout(".wh..wh..opq"))),
		chain("opaque-of-root-before", lower, of(whiteout(".wh..wh..opq"), file("new", "x"))),
		chain("opaque-through-symlink", of(dir("a"), symlink("l", "a"), whiteout("l/.wh..wh..opq"))),
		chain("opaque-and-whiteout", lower, of(whiteout("a/.wh.b"), opaque, file("a/b", "x"))),
		chain("opaque-of-new-directory", of(whiteout("n/.wh..wh..opq"))),
		chain("opaque-then-replaced", lower, of(opaque, file("a", "x"))),
		chain("opaque-of-what-was-removed", lower, of(whiteout(".wh.a"), opaque)),
		chain("opaque-is-directory", lower, of(dir("a/.wh..wh..opq"))),
		chain("opaque-as-parent", of(file(".wh..wh..opq/a", "x"))),
	}
}

func attributeCases() []namedCase {
	owned := func(uid, gid int64, s style) entry {
		e := file("a", "x")
		e.uid, e.gid, e.style, e.nsec = uid, gid, s, 0
		return e
	}
	at := func(seconds, nanoseconds int64) []entry {
		var entries []entry
		for _, e := range []entry{file("a", "x"), dir("b"), symlink("c", "a"), special('6', "d", 0, 0)} {
			e.mtime, e.nsec = seconds, nanoseconds
			entries = append(entries, e)
		}
		return entries
	}
	cases := []namedCase{
		chain("owner-large", of(owned(1<<31, 1<<32-2, pax), file("b", "x"))),
		chain("owner-large-base-256", of(owned(1<<31, 1<<32-2, gnuStyle))),
		chain("owner-too-large", of(owned(1<<32+5, 1<<40+6, pax))),
		chain("owner-minus-one", of(owned(-1, -1, gnuStyle))),
		chain("owner-4294967295", of(owned(1<<32-1, 1<<32-1, pax))),
		chain("owner-clears-setuid", of(file("a", "x").modeOf(0o6755), hardLink("b", "a").modeOf(0o6755))),
		chain("mode-all-bits", of(file("a", "x").modeOf(0o7777), dir("b").modeOf(0o7777), special('3', "c", 1, 3).modeOf(0o7777),
			special('6', "d", 0, 0).modeOf(0o7777), symlink("e", "f").modeOf(0o7777))),
		chain("mode-zero", of(file("a", "x").modeOf(0), dir("b").modeOf(0), special('4', "c", 1, 3).modeOf(0))),
		chain("mode-with-type", of(file("a", "x").modeOf(0o40755), dir("b").modeOf(0o100644), special('3', "c", 1, 3).modeOf(0o100600))),
		chain("mode-negative", of(file("a", "x").modeOf(-1), dir("b").modeOf(-1))),
		chain("mode-large", of(file("a", "x").modeOf(1<<40+0o644))),
		chain("time-fraction", of(at(someTime, 1)...)),
		chain("time-zero", of(at(0, 0)...)),
		chain("time-negative", of(at(-1, 0)...)),
		chain("time-negative-fraction", of(at(-2, 500_000_000)...)),
		chain("time-2038", of(at(1<<31, 999_999_999)...)),
		chain("time-2446", of(at(15_032_385_535, 5)...)),
		chain("time-2448", of(at(15_100_000_000, 5)...)),
		chain("time-last-of-go", of(at(9_223_372_036, 854_775_807)...)),
		chain("time-after-go", of(at(9_223_372_036, 854_775_808)...)),
		chain("time-huge", of(at(1<<60, 0)...)),
		chain("time-of-access", of(file("a", "x").with(record{"atime", "1500000000.5"}), dir("b").with(record{"atime", "1"}))),
		chain("device-numbers", of(special('3', "a", 1, 3), special('4', "b", 4095, 1048575), special('3', "c", 0, 1),
			special('4', "d", 0, 0), special('3', "e", 255, 256))),
		chain("device-numbers-too-large", of(special('3', "a", 4096, 1<<20))),
		chain("device-numbers-negative", of(special('3', "a", -1, -1))),
		chain("device-with-size", of(special('3', "a", 1, 3).with(record{"size", "1000"}), file("b", "x"))),
		chain("xattrs", of(file("a", "x").xattr("user.a", "1").xattr("user.empty", "").xattr("user.nul", "\x00\x00").xattr("user.n=x", "y"),
			dir("b").xattr("user.a", "2").xattr("security.a", "3"))),
		chain("xattr-capability", of(file("a", "x").modeOf(0o755).xattr("security.capability", capability))),
		chain("xattr-capability-and-owner", of(owned(1000, 1000, pax).xattr("security.capability", capability))),
		chain("xattr-capability-broken", of(file("a", "x").xattr("security.capability", "x"))),
		chain("xattr-acl", of(file("a", "x").modeOf(0o600).xattr("system.posix_acl_access", accessACL), dir("b").modeOf(0o711).
			xattr("system.posix_acl_access", accessACL).xattr("system.posix_acl_default", accessACL))),
		chain("xattr-acl-default-of-file", of(file("a", "x").xattr("system.posix_acl_default", accessACL))),
		chain("xattr-acl-broken", of(file("a", "x").xattr("system.posix_acl_access", "x"))),
		chain("xattr-acl-of-symlink", of(symlink("a", "b").xattr("system.posix_acl_access", accessACL))),
		chain("xattr-trusted", of(file("a", "x").xattr("trusted.a", "1"), dir("b").xattr("trusted.overlay.opaque", "y"))),
		chain("xattr-of-unknown-kind", of(file("a", "x").xattr("other.a", "1").xattr("plain", "2"))),
		chain("xattr-without-name", of(file("a", "x").xattr("", "1"))),
		chain("xattr-user-without-name", of(file("a", "x").xattr("user.", "1"))),
		chain("xattr-name-255", of(file("a", "x").xattr("user."+strings.Repeat("n", 250), "1"))),
		chain("xattr-name-256", of(file("a", "x").xattr("user."+strings.Repeat("n", 251), "1"))),
		chain("xattr-of-5000-bytes", of(file("a", "x").xattr("user.a", strings.Repeat("v", 5000)))),
		chain("xattr-of-70000-bytes", of(file("a", "x").xattr("user.a", strings.Repeat("v", 70000)))),
		chain("xattr-of-fifo", of(special('6', "a", 0, 0).xattr("user.a", "1"), special('3', "b", 1, 3).xattr("security.a", "1"))),
		chain("xattr-of-overlay-user", of(dir("a").xattr("user.overlay.opaque", "y"), file("b", "").xattr("user.overlay.whiteout", ""))),
		chain("xattr-twice", of(file("a", "x").xattr("user.a", "1").xattr("user.a", "2"))),
		chain("xattr-of-libarchive", of(file("a", "x").with(record{"LIBARCHIVE.xattr.user.a", "MQ=="}))),
	}
	return cases
}

func sparseCases() []namedCase {
	text := func(n int) string { return strings.Repeat("0123456789abcdef", n/16+1)[:n] }
	some := sparse{entry: file("a", text(700)), size: 5000, regions: []region{{0, 200}, {1000, 500}}}
	many := sparse{entry: file("a", text(60)), size: 6000}
	for n := range int64(30) {
		many.regions = append(many.regions, region{n * 200, 2})
	}
	empty := sparse{entry: file("a", ""), size: 3000}
	changed := func(change func(*sparse)) sparse {
		s := some
		change(&s)
		return s
	}
	var cases []namedCase
	for form, write := range map[string]func(*archive, sparse){
		"old-gnu": (*archive).addOldGNU,
		"0.0":     func(a *archive, s sparse) { a.addSparse0(s, false) },
		"0.1":     func(a *archive, s sparse) { a.addSparse0(s, true) },
		"1.0":     (*archive).addSparse1,
	} {
		for what, s := range map[string]sparse{
			"some":           some,
			"many":           many,
			"empty":          empty,
			"ends-with-data": changed(func(s *sparse) { s.size = 1500 }),
			"empty-regions":  changed(func(s *sparse) { s.regions = []region{{0, 0}, {100, 700}, {5000, 0}} }),
			"too-short":      changed(func(s *sparse) { s.size = 1499 }),
			"overlapping":    changed(func(s *sparse) { s.regions = []region{{0, 500}, {400, 200}} }),
			"backwards":      changed(func(s *sparse) { s.regions = []region{{1000, 500}, {0, 200}} }),
			"negative":       changed(func(s *sparse) { s.regions = []region{{-5, 200}, {1000, 500}} }),
			"missing-data":   changed(func(s *sparse) { s.content = s.content[:600] }),
			"too-much-data":  changed(func(s *sparse) { s.content += "x" }),
			"overflow":       changed(func(s *sparse) { s.regions = []region{{1 << 62, 1 << 62}} }),
		} {
			cases = append(cases, chain("sparse-"+form+"-"+what, func(a *archive) {
				write(a, s)
				a.add(file("after", "x"))
			}))
		}
	}
	raw := func(name, content string, records ...record) namedCase {
		return chain("sparse-"+name, of(file("a", content).with(records...), file("after", "x")))
	}
	version := []record{{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "10"}}
	return append(cases,
		raw("1.0-no-number", text(512), version...),
		raw("1.0-empty-map", strings.Repeat("\x00", 512), version...),
		raw("1.0-too-many", "999999999\n"+text(502), version...),
		raw("unknown-version", "x", record{"GNU.sparse.major", "2"}, record{"GNU.sparse.minor", "0"}),
		raw("size-not-a-number", "x", record{"GNU.sparse.size", "x"}, record{"GNU.sparse.map", "0,1"}, record{"GNU.sparse.numblocks", "1"}),
		raw("wrong-count", "x", record{"GNU.sparse.size", "1"}, record{"GNU.sparse.map", "0,1"}, record{"GNU.sparse.numblocks", "2"}),
		raw("offset-without-length", "x", record{"GNU.sparse.offset", "0"}, record{"GNU.sparse.offset", "1"}),
		raw("size-alone", "x", record{"GNU.sparse.size", "100"}),
	)
}
