package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// archive is a layer while it is made.
type archive struct {
	buf bytes.Buffer
	// notes say what is in it, for whoever looks into a difference.
	notes []string
}

func (a *archive) note(format string, args ...any) {
	a.notes = append(a.notes, fmt.Sprintf(format, args...))
}

// block writes a header as it is.
func (a *archive) block(h header) {
	a.note("header flag %q name %q size %d", h.flag, h.name, h.size)
	a.buf.Write(h.block())
}

// data writes bytes, and zeros up to the end of the block.
func (a *archive) data(data []byte) {
	a.buf.Write(data)
	a.buf.Write(make([]byte, -len(data)&(blockSize-1)))
}

// end writes the two blocks of zeros that end an archive.
func (a *archive) end() { a.buf.Write(make([]byte, 2*blockSize)) }

// record is one of an extended header.
type record struct{ key, value string }

func (r record) String() string {
	// The length counts its own digits.
	size := len(r.key) + len(r.value) + len(" =\n")
	length := size + len(strconv.Itoa(size))
	if len(strconv.Itoa(length)) > len(strconv.Itoa(size)) {
		length++
	}
	return fmt.Sprintf("%d %s=%s\n", length, r.key, r.value)
}

// extended writes a header of flag x or g, with these records.
func (a *archive) extended(flag byte, records ...record) {
	var text strings.Builder
	for _, r := range records {
		text.WriteString(r.String())
		a.note("%c record %.300q", flag, r.key+"="+r.value)
	}
	a.extendedText(flag, text.String())
}

// extendedText writes an extended header whose records need not be any.
func (a *archive) extendedText(flag byte, text string) {
	a.block(header{name: "PaxHeaders.0/x", mode: 0o644, size: int64(len(text)), flag: flag})
	a.data([]byte(text))
}

// gnuLong writes a header of flag L or K, with the name or the target of the next entry.
func (a *archive) gnuLong(flag byte, text string) {
	a.note("%c %.300q", flag, text)
	a.block(header{name: "././@LongLink", size: int64(len(text)) + 1, flag: flag, magic: gnu})
	a.data(append([]byte(text), 0))
}

// style is how an entry says what a plain header has no room for.
type style int

const (
	pax style = iota
	gnuStyle
	ustarStyle
	v7Style
)

// entry is one file of a layer.
type entry struct {
	flag           byte
	name, link     string
	content        string
	mode, uid, gid int64
	mtime, nsec    int64
	atime          int64
	major, minor   int64
	xattrs         []record
	style          style
	// more goes into the extended header, after what is there already.
	more []record
}

func (a *archive) add(e entry) {
	a.note("%s", e.describe())
	h := header{
		name: e.name, link: e.link, mode: e.mode, uid: e.uid, gid: e.gid, size: int64(len(e.content)), mtime: e.mtime,
		major: e.major, minor: e.minor, flag: e.flag, uname: "nobody", gname: "nogroup",
	}
	s := e.style
	if s != pax && (len(e.xattrs)+len(e.more) > 0 || e.nsec != 0) {
		s = pax
	}
	if s == v7Style && len(e.name) > 100 || s == ustarStyle && len(e.name) > 100 && !split(&h) || s != pax && s != gnuStyle && len(e.link) > 100 {
		s = gnuStyle
	}
	switch s {
	case pax:
		if records := e.records(); len(records) > 0 {
			a.extended('x', records...)
		}
	case gnuStyle:
		h.magic = gnu
		if len(e.link) > 100 {
			a.gnuLong('K', e.link)
		}
		if len(e.name) > 100 {
			a.gnuLong('L', e.name)
		}
		if e.atime != 0 {
			h.patch = func(block []byte) { numeric(block[345:357], e.atime) }
		}
	case v7Style:
		h.magic = v7
	}
	a.buf.Write(h.block())
	a.data([]byte(e.content))
}

// records are those that a POSIX archive has for the entry.
func (e *entry) records() []record {
	var records []record
	add := func(condition bool, key, value string) {
		if condition {
			records = append(records, record{key, value})
		}
	}
	add(len(e.name) > 100 || !ascii(e.name), "path", e.name)
	add(len(e.link) > 100 || !ascii(e.link), "linkpath", e.link)
	add(!fits(e.uid, 8), "uid", strconv.FormatInt(e.uid, 10))
	add(!fits(e.gid, 8), "gid", strconv.FormatInt(e.gid, 10))
	add(e.nsec != 0 || !fits(e.mtime, 12), "mtime", paxTime(e.mtime, e.nsec))
	add(e.atime != 0, "atime", paxTime(e.atime, 0))
	for _, x := range e.xattrs {
		add(true, "SCHILY.xattr."+x.key, x.value)
	}
	return append(records, e.more...)
}

func paxTime(seconds, nanoseconds int64) string {
	if nanoseconds == 0 {
		return strconv.FormatInt(seconds, 10)
	}
	return strings.TrimRight(fmt.Sprintf("%d.%09d", seconds, nanoseconds), "0")
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}

// split moves directories to the prefix, if there is a slash in the right place.
func split(h *header) bool {
	for i := len(h.name) - 1; i > 0; i-- {
		if h.name[i] == '/' && i <= 155 && len(h.name)-i-1 <= 100 && i < len(h.name)-1 {
			h.prefix, h.name = h.name[:i], h.name[i+1:]
			return true
		}
	}
	return false
}

func (e *entry) describe() string {
	text := fmt.Sprintf("%q %.300q mode %o owner %d:%d mtime %d.%09d", e.flag, e.name, e.mode, e.uid, e.gid, e.mtime, e.nsec)
	if e.link != "" {
		text += fmt.Sprintf(" -> %.300q", e.link)
	}
	if e.content != "" {
		text += fmt.Sprintf(" %d bytes", len(e.content))
	}
	if e.flag == '3' || e.flag == '4' {
		text += fmt.Sprintf(" device %d:%d", e.major, e.minor)
	}
	return text
}
