package main

import (
	"fmt"
	"strconv"
	"strings"
)

const blockSize = 512

// magic is the flavour of a header, as its magic bytes say it.
type magic int

const (
	ustar magic = iota
	gnu
	star
	v7
)

// header is one header block, with whatever is to be in it. Go's own writer refuses most of what a test needs.
type header struct {
	name, prefix, link string
	uname, gname       string
	mode, uid, gid     int64
	size, mtime        int64
	major, minor       int64
	flag               byte
	magic              magic
	// patch changes the block before the checksum is made.
	patch func(block []byte)
	// checksum writes another one than is right.
	checksum func(block []byte, sum, signed int64)
}

func (h *header) block() []byte {
	b := make([]byte, blockSize)
	copy(b[0:100], h.name)
	numeric(b[100:108], h.mode)
	numeric(b[108:116], h.uid)
	numeric(b[116:124], h.gid)
	numeric(b[124:136], h.size)
	numeric(b[136:148], h.mtime)
	b[156] = h.flag
	copy(b[157:257], h.link)
	if h.magic != v7 {
		copy(b[257:265], map[magic]string{ustar: "ustar\x0000", gnu: "ustar  \x00", star: "ustar\x0000"}[h.magic])
		copy(b[265:297], h.uname)
		copy(b[297:329], h.gname)
		numeric(b[329:337], h.major)
		numeric(b[337:345], h.minor)
	}
	switch h.magic {
	case ustar:
		copy(b[345:500], h.prefix)
	case star:
		copy(b[345:476], h.prefix)
		copy(b[508:512], "tar\x00")
	}
	if h.patch != nil {
		h.patch(b)
	}
	copy(b[148:156], "        ")
	var sum, signed int64
	for _, c := range b {
		sum += int64(c)
		signed += int64(int8(c))
	}
	if h.checksum != nil {
		h.checksum(b, sum, signed)
	} else {
		copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	}
	return b
}

// numeric writes a number in octal, or in base 256 where it does not fit.
func numeric(field []byte, n int64) {
	digits := strconv.FormatInt(n, 8)
	if n >= 0 && len(digits) < len(field) {
		copy(field, strings.Repeat("0", len(field)-1-len(digits))+digits)
		return
	}
	base256(field, n)
}

func base256(field []byte, n int64) {
	for i := len(field) - 1; i >= 0; i-- {
		field[i] = byte(n)
		// An arithmetic shift: the sign fills the bytes in front.
		n >>= 8
	}
	field[0] |= 0x80
}

// fits says whether octal digits can hold the number in a field of so many bytes.
func fits(n int64, width int) bool {
	return n >= 0 && len(strconv.FormatInt(n, 8)) < width
}
