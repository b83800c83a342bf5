package main

import (
	"fmt"
	"strconv"
	"strings"
)

// region is a part of a sparse file that is no hole.
type region struct{ offset, length int64 }

// sparse is a file with holes. The regions need not fit the size, nor the data the regions.
type sparse struct {
	entry
	size    int64
	regions []region
}

// addOldGNU writes the form that GNU tar had before extended headers: four regions in the header, 21 in each block after it.
func (a *archive) addOldGNU(s sparse) {
	a.note("old GNU sparse %q, size %d, regions %v", s.name, s.size, s.regions)
	rest := s.regions
	fill := func(b []byte, slots int) {
		n := min(slots, len(rest))
		for i, r := range rest[:n] {
			numeric(b[i*24:i*24+12], r.offset)
			numeric(b[i*24+12:i*24+24], r.length)
		}
		if rest = rest[n:]; len(rest) > 0 {
			b[slots*24] = 1
		}
	}
	a.buf.Write((&header{
		name: s.name, mode: s.mode, uid: s.uid, gid: s.gid, mtime: s.mtime, size: int64(len(s.content)), flag: 'S', magic: gnu,
		patch: func(block []byte) {
			fill(block[386:], 4)
			numeric(block[483:495], s.size)
		},
	}).block())
	for len(rest) > 0 {
		block := make([]byte, blockSize)
		fill(block, 21)
		a.buf.Write(block)
	}
	a.data([]byte(s.content))
}

// addSparse0 writes what POSIX archives of GNU tar had first: the map among the records, as many of them or as one.
func (a *archive) addSparse0(s sparse, one bool) {
	records := []record{{"GNU.sparse.size", strconv.FormatInt(s.size, 10)},
		{"GNU.sparse.numblocks", strconv.Itoa(len(s.regions))}}
	if one {
		records = append(records, record{"GNU.sparse.name", s.name}, record{"GNU.sparse.map", s.list(",", ",")})
		s.name = "GNUSparseFile.0/x"
	} else {
		for _, r := range s.regions {
			records = append(records, record{"GNU.sparse.offset", strconv.FormatInt(r.offset, 10)},
				record{"GNU.sparse.numbytes", strconv.FormatInt(r.length, 10)})
		}
	}
	s.flag, s.style, s.more = '0', pax, append(records, s.more...)
	a.add(s.entry)
}

// addSparse1 writes the form of today: the map in front of the data, in blocks of its own.
func (a *archive) addSparse1(s sparse) {
	s.more = append([]record{
		{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.name", s.name},
		{"GNU.sparse.realsize", strconv.FormatInt(s.size, 10)},
	}, s.more...)
	list := fmt.Sprintf("%d\n%s", len(s.regions), s.list("\n", "\n"))
	if len(s.regions) > 0 {
		list += "\n"
	}
	list += strings.Repeat("\x00", -len(list)&(blockSize-1))
	s.flag, s.style, s.name, s.content = '0', pax, "GNUSparseFile.0/x", list+s.content
	a.add(s.entry)
}

func (s *sparse) list(inside, between string) string {
	var parts []string
	for _, r := range s.regions {
		parts = append(parts, fmt.Sprintf("%d%s%d", r.offset, inside, r.length))
	}
	return strings.Join(parts, between)
}
