package main

import (
	"archive/tar"
	"strconv"
	"strings"
	"time"
)

// fullLayers shows an unpacker everything that a layer can hold and everything that it can do to the layers below.
// Names say what should be seen at the end: what is called "gone" must not be there.
func fullLayers(random *source) []*layer {
	return []*layer{
		fullFiles(random),
		fullNames(),
		fullLinks(),
		fullSpecial(),
		fullVictims(),
		fullReplacements(),
		fullWhiteouts(),
		fullOpaque(),
		fullRecreated(),
		fullImplicit(),
		repeated(),
		repeatedUndone(),
		// The very bytes of an earlier layer: one DiffID twice in a chain.
		repeated(),
		newLayer("empty"),
		fullTop(random),
		newLayer("empty"),
	}
}

func fullFiles(random *source) *layer {
	l := newLayer("files")
	l.dir("files")
	for _, size := range []int{0, 1, 511, 512, 513, 4096, 65536, 1<<20 + 7} {
		l.file("files/size-"+strconv.Itoa(size), random.text(size))
	}
	l.file("files/zeros", strings.Repeat("\x00", 4<<20))
	l.file("files/setuid", "#!/bin/sh\n", mode(0o4755))
	l.file("files/setgid", "#!/bin/sh\n", mode(0o2755), owner(0, 42))
	l.file("files/setuid-setgid-sticky", "#!/bin/sh\n", mode(0o7711), owner(1000, 1000))
	l.file("files/no-access", "secret\n", mode(0))
	l.file("files/owned", "x\n", owner(1000, 2000))
	l.file("files/owned-large-ids", "x\n", owner(3_000_000, 4_000_000_000))
	l.dir("files/sticky", mode(0o1777))
	l.dir("files/setgid-dir", mode(0o2775), owner(0, 50))
	// Its own entry gives no group bit: a set-group-id parent must not leak into what is made below it.
	l.dir("files/setgid-dir/plain-dir")
	l.file("files/setgid-dir/plain-file", "x\n")
	l.dir("files/closed", mode(0))
	l.file("files/closed/inside", "x\n")

	l.file("files/mtime-ns", "x\n", mtime(epoch.Add(123456789)))
	l.file("files/mtime-1ns", "x\n", mtime(epoch.Add(1)))
	l.file("files/mtime-1970", "x\n", mtime(time.Unix(0, 0)))
	l.file("files/mtime-before-1970", "x\n", mtime(time.Unix(-86400, 0)))
	l.file("files/mtime-2100", "x\n", mtime(time.Date(2100, 1, 1, 0, 0, 0, 5, time.UTC)))
	// Files made later in the stream must not move a directory's own time.
	l.dir("files/mtime-dir", mtime(epoch.Add(-time.Hour+7)))
	l.file("files/mtime-dir/file", "x\n")

	// The same path twice in one stream: the later entry counts.
	l.file("files/twice", "first\n", mode(0o600))
	l.file("files/twice", "second\n", mode(0o640))
	// A directory after its children only changes its metadata.
	l.dir("files/late-dir")
	l.file("files/late-dir/file", "x\n")
	l.dir("files/late-dir", mode(0o711), owner(7, 8))
	return l
}

func fullNames() *layer {
	l := newLayer("names")
	l.dir("names")
	for _, name := range []string{
		"with space", " leading", "trailing ", "new\nline", "tab\there", `back\slash`, `quote"s'`, "-dash", "--", "~",
		"caf\u00e9", "cafe\u0301", "\u65e5\u672c\u8a9e", "\U0001f40b", "latin1-\xe9\xff", "star*", "a:b", "a,b", "percent%20",
		".hidden", ".wh", ".whatever", "..double", "...", strings.Repeat("n", 255), strings.Repeat("\u00fc", 127),
	} {
		l.file("names/"+name, name)
	}
	l.dir("names/dir:with,overlay=chars\\")
	l.file("names/dir:with,overlay=chars\\/file", "x\n")

	// Past the 100 and 255 bytes that the older header formats hold.
	deep := "names"
	for range 12 {
		deep = nested(deep, 1, 60)
		l.dir(deep)
	}
	l.file(deep+"/file", "deep\n")
	l.symlink("names/long-target", strings.Repeat("../names/", 100)+"with space")
	l.hardlink("names/long-hardlink", deep+"/file")
	// Written by tools that keep the leading "./" or "/".
	l.file("./names/dot-slash", "x\n")
	l.file("/names/absolute", "x\n")
	return l
}

func fullLinks() *layer {
	l := newLayer("links")
	l.dir("links")
	l.dir("links/dir")
	l.file("links/file", "linked\n", mode(0o604), owner(11, 12))
	l.hardlink("links/hard-1", "links/file")
	l.hardlink("links/dir/hard-2", "links/file")
	l.hardlink("links/hard-of-hard", "links/hard-1")
	l.file("links/restated", "x\n", mode(0o600))
	// The inode's metadata is what the last header says.
	l.hardlink("links/hard-restated", "links/restated", mode(0o640), owner(13, 14), mtime(epoch.Add(5)))
	l.symlink("links/relative", "file")
	l.symlink("links/absolute", "/links/file")
	l.symlink("links/dangling", "/no/such/file")
	l.symlink("links/self", "self")
	l.symlink("links/loop-a", "loop-b")
	l.symlink("links/loop-b", "loop-a")
	l.symlink("links/above-root", "../../../../../etc/passwd")
	l.symlink("links/to-dir", "dir")
	l.symlink("links/to-dir-absolute", "/links/dir")
	l.symlink("links/owned", "file", owner(21, 22), mtime(epoch.Add(99)))
	l.hardlink("links/hard-to-symlink", "links/relative")
	// Through a symlink to a directory of the image, relative and absolute: both must stay inside the image.
	l.file("links/to-dir/through-relative", "x\n")
	l.file("links/to-dir-absolute/through-absolute", "x\n")
	return l
}

func fullSpecial() *layer {
	// struct vfs_ns_cap_data, revision 2, effective: cap_net_bind_service and cap_net_raw permitted.
	const capability = "\x01\x00\x00\x02\x00\x24\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

	l := newLayer("special")
	l.dir("special", xattr("user.on-dir", "directory"))
	l.file("special/xattrs", "x\n", xattr("user.text", "value"), xattr("user.empty", ""),
		xattr("user.binary", "\x00\x01\xff\n"), xattr("user.large", strings.Repeat("v", 2000)))
	l.file("special/capability", "#!/bin/sh\n", mode(0o755), xattr("security.capability", capability))
	l.file("special/capability-owned", "#!/bin/sh\n", mode(0o755), owner(1000, 1000),
		xattr("security.capability", capability))
	// Changing the owner drops a capability: a link's header, applied again, must not lose it.
	l.hardlink("special/capability-link", "special/capability-owned")
	l.file("special/read-only-xattr", "x\n", mode(0o444), xattr("user.text", "value"))
	l.device("special/null", tar.TypeChar, 1, 3, mode(0o666))
	l.device("special/tty", tar.TypeChar, 4, 300, mode(0o620), owner(0, 5))
	l.device("special/block", tar.TypeBlock, 7, 4095)
	l.fifo("special/fifo", owner(3, 4), mtime(epoch.Add(11)))
	l.hardlink("special/fifo-link", "special/fifo")
	return l
}

func fullTop(random *source) *layer {
	l := newLayer("top")
	l.file("seed", random.text(64))
	return l
}
