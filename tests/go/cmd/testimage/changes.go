package main

import "archive/tar"

// The layers in this file change what lies below them; fullVictims is what they change.

func fullVictims() *layer {
	l := newLayer("victims")
	l.dir("replace")
	l.file("replace/file-to-dir", "old\n")
	l.dir("replace/dir-to-file")
	l.file("replace/dir-to-file/gone", "old\n")
	l.dir("replace/dir-to-symlink")
	l.file("replace/dir-to-symlink/gone", "old\n")
	l.symlink("replace/symlink-to-dir", "dir-kept")
	l.symlink("replace/symlink-to-file", "file-kept")
	l.file("replace/file-to-symlink", "old\n")
	l.file("replace/file-to-fifo", "old\n")
	l.fifo("replace/fifo-to-file")
	l.file("replace/setuid-to-plain", "old\n", mode(0o4755))
	l.file("replace/xattr-to-none", "old\n", xattr("user.gone", "old"))
	l.file("replace/metadata", "kept\n")
	l.dir("replace/dir-metadata")
	l.file("replace/dir-metadata/kept", "kept\n")
	l.dir("replace/dir-kept")
	l.file("replace/dir-kept/kept", "kept\n")
	l.file("replace/file-kept", "kept\n")
	l.file("replace/pair-a", "pair\n")
	l.hardlink("replace/pair-b", "replace/pair-a")

	l.dir("whiteout")
	l.file("whiteout/kept", "kept\n")
	l.file("whiteout/gone", "old\n")
	l.dir("whiteout/dir-gone")
	l.dir("whiteout/dir-gone/sub")
	l.file("whiteout/dir-gone/sub/file", "old\n")
	l.symlink("whiteout/symlink-gone", "kept")
	l.symlink("whiteout/dir-symlink-gone", "dir-kept")
	l.dir("whiteout/dir-kept")
	l.file("whiteout/dir-kept/kept", "kept\n")
	l.file("whiteout/dir-kept/gone", "old\n")
	l.device("whiteout/device-gone", tar.TypeChar, 1, 5)
	l.fifo("whiteout/fifo-gone")
	l.file("whiteout/hard-kept", "hard\n")
	l.hardlink("whiteout/hard-gone", "whiteout/hard-kept")
	l.dir("whiteout/recreated-dir", mode(0o700), owner(9, 9))
	l.file("whiteout/recreated-dir/gone", "old\n")
	l.file("whiteout/recreated-file", "old\n")

	for _, dir := range []string{"first", "last", "middle", "bare", "outer", "outer/inner", "twice"} {
		if dir == "first" {
			l.dir("opaque")
		}
		l.dir("opaque/" + dir)
		l.file("opaque/"+dir+"/gone", "old\n")
		l.dir("opaque/" + dir + "/dir-gone")
		l.file("opaque/"+dir+"/dir-gone/gone", "old\n")
	}
	l.file("opaque/kept", "kept\n")

	l.dir("implicit", mode(0o750), owner(31, 32), xattr("user.kept", "yes"))
	l.dir("implicit/below", mode(0o2771), owner(33, 34))
	l.file("implicit/below/kept", "kept\n")
	return l
}

// fullReplacements changes the type of what is below without a whiteout: an entry alone replaces it.
func fullReplacements() *layer {
	l := newLayer("replacements")
	l.dir("replace")
	l.dir("replace/file-to-dir")
	l.file("replace/file-to-dir/new", "new\n")
	l.file("replace/dir-to-file", "new\n")
	l.symlink("replace/dir-to-symlink", "dir-kept")
	l.dir("replace/symlink-to-dir")
	l.file("replace/symlink-to-dir/new", "new\n")
	l.file("replace/symlink-to-file", "new\n")
	l.symlink("replace/file-to-symlink", "file-kept")
	l.fifo("replace/file-to-fifo")
	l.file("replace/fifo-to-file", "new\n")
	l.file("replace/setuid-to-plain", "new\n", mode(0o755))
	l.file("replace/xattr-to-none", "new\n")
	l.file("replace/metadata", "kept\n", mode(0o600), owner(5, 6))
	l.dir("replace/dir-metadata", mode(0o1731), owner(5, 6), xattr("user.added", "yes"))
	l.file("replace/pair-a", "no longer a pair\n")
	return l
}

func fullWhiteouts() *layer {
	l := newLayer("whiteouts")
	l.dir("whiteout")
	for _, name := range []string{
		"gone", "dir-gone", "symlink-gone", "dir-symlink-gone", "device-gone", "fifo-gone", "hard-gone",
		"recreated-dir", "recreated-file",
		// Legal, and hides nothing.
		"never-existed",
	} {
		l.whiteout("whiteout/" + name)
	}
	// Its directory has no entry of its own in this layer.
	l.whiteout("whiteout/dir-kept/gone")
	return l
}

func fullOpaque() *layer {
	l := newLayer("opaque")
	l.dir("opaque")
	l.dir("opaque/first")
	l.opaque("opaque/first")
	l.file("opaque/first/new", "new\n")
	// The marker hides what is below this layer, never what the layer itself brings, wherever it stands.
	l.dir("opaque/last")
	l.file("opaque/last/new", "new\n")
	l.dir("opaque/last/dir-new")
	l.file("opaque/last/dir-new/new", "new\n")
	l.opaque("opaque/last")
	l.dir("opaque/middle")
	l.file("opaque/middle/new-a", "new\n")
	l.opaque("opaque/middle")
	l.file("opaque/middle/new-b", "new\n")
	l.dir("opaque/bare")
	l.opaque("opaque/bare")
	l.dir("opaque/outer")
	l.opaque("opaque/outer")
	l.dir("opaque/outer/inner")
	l.file("opaque/outer/inner/new", "new\n")
	l.dir("opaque/twice")
	l.opaque("opaque/twice")
	l.file("opaque/twice/gone-later", "new\n")
	l.dir("opaque/only-here")
	l.opaque("opaque/only-here")
	l.file("opaque/only-here/new", "new\n")
	return l
}

// fullRecreated brings back what an earlier layer hid: the old content must stay hidden.
func fullRecreated() *layer {
	l := newLayer("recreated")
	l.dir("whiteout/recreated-dir")
	l.file("whiteout/recreated-dir/new", "new\n")
	l.file("whiteout/recreated-file", "new\n")
	l.dir("opaque/twice")
	l.opaque("opaque/twice")
	l.file("opaque/twice/new", "new\n")
	return l
}

// fullImplicit has no entries for its directories: some are below, with modes and owners to keep, some are nowhere.
func fullImplicit() *layer {
	l := newLayer("implicit directories")
	l.file("implicit/below/new", "new\n")
	l.file("implicit/below/only-here/new", "new\n")
	l.file("implicit-only-here/a/b/new", "new\n", mode(0o600), owner(35, 36))
	return l
}

func repeated() *layer {
	l := newLayer("repeated")
	l.dir("repeat")
	l.file("repeat/a", "a\n")
	return l
}

func repeatedUndone() *layer {
	l := newLayer("repeated, undone")
	l.dir("repeat")
	l.whiteout("repeat/a")
	l.file("repeat/b", "b\n")
	return l
}
