package main

import "strings"

func formatCases() []namedCase {
	return []namedCase{
		chain("empty", func(*archive) {}),
		cut("nothing", func(*archive) {}),
		cut("one-zero-block", func(a *archive) { a.buf.Write(make([]byte, blockSize)) }),
		cut("one-zero-block-and-a-half", func(a *archive) { a.buf.Write(make([]byte, blockSize+100)) }),
		cut("no-end", of(file("a", "x"))),
		cut("no-padding", func(a *archive) {
			a.add(file("a", "x"))
			a.buf.Truncate(a.buf.Len() - 100)
		}),
		cut("half-a-header", func(a *archive) {
			a.add(file("a", ""))
			a.buf.Truncate(a.buf.Len() - 1)
		}),
		cut("data-cut", func(a *archive) {
			a.add(file("a", strings.Repeat("x", 1000)))
			a.buf.Truncate(a.buf.Len() - 600)
		}),
		cut("garbage-at-the-end", func(a *archive) {
			a.add(file("a", "x"))
			a.end()
			a.buf.WriteString(strings.Repeat("garbage", 1000))
		}),
		cut("two-archives", func(a *archive) {
			a.add(file("a", "x"))
			a.end()
			a.add(file("b", "x"))
			a.end()
		}),
		cut("zero-block-between", func(a *archive) {
			a.add(file("a", "x"))
			a.buf.Write(make([]byte, blockSize))
			a.add(file("b", "x"))
		}),
		chain("pax-for-nothing", func(a *archive) {
			a.add(file("a", "x"))
			a.extended('x', record{"path", "b"})
		}),
		chain("pax-twice", func(a *archive) {
			a.extended('x', record{"path", "first"}, record{"uid", "5"})
			a.extended('x', record{"gid", "6"})
			a.add(entry{flag: '0', name: "a", style: ustarStyle})
		}),
		chain("pax-last-record-counts", func(a *archive) {
			a.extended('x', record{"path", "first"}, record{"path", "second"})
			a.add(entry{flag: '0', name: "a", style: ustarStyle})
		}),
		chain("pax-size", func(a *archive) {
			a.extended('x', record{"size", "600"})
			a.block(header{name: "a", flag: '0'})
			a.data([]byte(strings.Repeat("x", 600)))
			a.add(file("b", "y"))
		}),
		chain("pax-empty-values", of(file("a", "x").with(record{"path", ""}, record{"uid", ""}, record{"mtime", ""}))),
		chain("pax-global", func(a *archive) {
			a.extended('g', record{"path", "global"}, record{"uid", "5"}, record{"mtime", "7"})
			a.add(file("a", "x"))
		}),
		chain("pax-global-in-place-of-a-file", func(a *archive) {
			a.add(file("PaxHeaders.0/x", "x"))
			a.extended('g', record{"comment", "x"})
		}),
		chain("pax-global-between", func(a *archive) {
			a.extended('x', record{"path", "renamed"})
			a.extended('g', record{"comment", "x"})
			a.add(entry{flag: '0', name: "a", style: ustarStyle})
		}),
		chain("pax-huge", of(file("a", "x").with(record{"comment", strings.Repeat("c", 1<<20)}))),
		chain("pax-large", of(file("a", "x").with(record{"comment", strings.Repeat("c", 1<<20-100)}))),
		chain("pax-header-has-long-name", func(a *archive) {
			a.gnuLong('L', "long")
			a.extended('x', record{"uid", "5"})
			a.add(entry{flag: '0', name: "a", style: ustarStyle})
		}),
		chain("gnu-times-are-a-prefix", func(a *archive) {
			a.block(header{name: "a", flag: '0', magic: gnu, patch: func(block []byte) { copy(block[345:], "old-go/prefix") }})
		}),
		chain("star-times", func(a *archive) {
			a.block(header{name: "a", flag: '0', magic: star, patch: func(block []byte) {
				numeric(block[476:488], 1_500_000_000)
				numeric(block[488:500], 5)
			}})
		}),
		chain("regular-of-old", of(entry{flag: 0, name: "a", content: "x", style: v7Style})),
		chain("numbers-with-blanks", func(a *archive) {
			a.block(header{name: "a", flag: '0', patch: func(block []byte) {
				copy(block[100:108], "   644 \x00")
				copy(block[108:116], "\x00\x00  7\x00\x00\x00")
				copy(block[136:148], " 7 \x00\x00\x00\x00\x00\x00\x00\x00\x00")
			}})
		}),
		chain("checksum-signed", func(a *archive) {
			a.block(header{name: "\xc3\xa4", flag: '0', checksum: func(block []byte, _, signed int64) {
				numeric(block[148:155], signed)
			}})
		}),
	}
}

func brokenCases() []namedCase {
	patched := func(name string, patch func([]byte)) namedCase {
		return chain("broken-"+name, func(a *archive) {
			a.add(file("before", "x"))
			a.block(header{name: "a", flag: '0', patch: patch})
			a.add(file("after", "x"))
		})
	}
	field := func(name string, at int, text string) namedCase {
		return patched(name, func(block []byte) { copy(block[at:], text) })
	}
	records := func(name, text string) namedCase {
		return chain("broken-pax-"+name, func(a *archive) {
			a.add(file("before", "x"))
			a.extendedText('x', text)
			a.add(entry{flag: '0', name: "a", style: ustarStyle})
		})
	}
	cases := []namedCase{
		field("mode", 100, "9999999\x00"),
		field("uid", 108, "abc\x00"),
		field("gid", 116, "-1\x00"),
		field("size", 124, "x"),
		field("size-negative", 124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
		field("size-overflow", 124, "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
		field("size-beyond-the-end", 124, "77777777777\x00"),
		field("mtime", 136, "yesterday"),
		field("device", 329, "x"),
		field("magic", 257, "magic"),
		chain("broken-checksum", func(a *archive) {
			a.block(header{name: "a", flag: '0', checksum: func(block []byte, sum, _ int64) { numeric(block[148:155], sum+1) }})
		}),
		chain("broken-checksum-blank", func(a *archive) {
			a.block(header{name: "a", flag: '0', checksum: func([]byte, int64, int64) {}})
		}),
		records("no-length", "path=b\n"),
		records("length-too-large", "99 path=b\n"),
		records("length-too-small", "9 path=b\n"),
		records("length-zero", "0 path=b\n"),
		records("length-negative", "-10 path=b\n"),
		records("length-signed", "+11 path=b\n"),
		records("length-with-zeros", "012 path=bc\n"),
		records("no-newline", "10 path=bc"),
		records("no-key", "5 =b\n"),
		records("no-equals", "7 path\n"),
		records("key-with-nul", "10 p\x00th=b\n"),
		records("only-zeros", "\x00\x00\x00"),
		records("zeros-after", "10 path=b\n\x00\x00"),
		records("nothing", ""),
		records("uid", "9 uid=x1\n"),
		records("size", "9 size=x\n"),
		records("size-negative", "11 size=-5\n"),
		records("mtime", "11 mtime=x\n"),
		records("mtime-exponent", "13 mtime=1e5\n"),
	}
	for _, flag := range []byte{'7', '8', '9', 'A', 'D', 'M', 'N', 'S', 'V', 'X', 'Z', ' ', 0xff} {
		cases = append(cases, chain("flag-"+string(rune('a'+flag%26))+string(rune('a'+flag/26)), of(entry{flag: flag, name: "a", content: "x"},
			file("after", "x"))))
	}
	return cases
}
