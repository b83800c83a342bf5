package main

import (
	"bytes"
	"fmt"
)

// end ends an archive, mostly as it should be.
func (w *world) end(a *archive) {
	switch w.IntN(20) {
	case 0:
		a.note("no end")
	case 1:
		a.note("one block of zeros")
		a.buf.Write(make([]byte, blockSize))
	case 2:
		a.note("garbage after the end")
		a.end()
		a.buf.WriteString("garbage that nobody looks at")
	case 3:
		a.note("padded to 10 KiB, as GNU tar does")
		a.end()
		a.buf.Write(make([]byte, 10240-a.buf.Len()%10240))
	case 4:
		a.extended('x', record{"path", "of nothing"})
		a.end()
	default:
		a.end()
	}
}

// damage makes one thing wrong, or at least unusual, with a header or with the length.
func (w *world) damage(a *archive) {
	data := a.buf.Bytes()
	// Where headers may be. Contents of files are sometimes hit, too, which changes what is compared but not how.
	at := w.IntN(len(data)/blockSize) * blockSize
	if bytes.Equal(data[at:at+blockSize], make([]byte, blockSize)) {
		at = 0
	}
	block := data[at : at+blockSize]
	what := w.IntN(14)
	a.note("damage %d of block %d", what, at/blockSize)
	switch what {
	case 0:
		a.buf.Truncate(w.IntN(len(data)))
		return
	case 1:
		a.buf.Truncate(at)
		return
	case 2:
		block[w.IntN(blockSize)] ^= byte(1 << w.IntN(8))
		return
	case 3:
		// A zero block, and something after it.
		clear(block)
		return
	case 4:
		copy(block[124:136], pick(w, "zzzzzzzzzzzz", "-0000000001\x00", "77777777777\x00", "            ", "\x00\x00\x00\x00", "0 1\x00"))
	case 5:
		base256(block[124:136], pick(w, int64(-1), 1<<40, 1<<62))
	case 6:
		copy(block[124:136], "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
	case 7:
		field := pick(w, 100, 108, 116, 329, 337)
		copy(block[field:field+8], pick(w, "garbage\x00", "8888888\x00", "  644 \x00\x00", "644     ", "\xff\xff\xff\xff\xff\xff\xff\xff"))
	case 8:
		copy(block[136:148], pick(w, "not a time\x00\x00", "77777777777 ", "\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"))
	case 9:
		block[156] = byte(w.IntN(256))
	case 10:
		copy(block[257:265], pick(w, "ustar\x00\x00\x00", "ustar  \x00", "ustar\x0000", "USTAR\x0000", "ustar 00"))
	case 11:
		copy(block[345:500], pick(w, "prefix", "pre/fix/", "\xff", "12345670123 ", "/"))
	case 12:
		copy(block[508:512], "tar\x00")
	default:
		copy(block[0:100], make([]byte, 100))
	}
	sign(block, w.IntN(8))
}

// sign writes a checksum that fits, in one of the ways in which that is done, or none.
func sign(block []byte, how int) {
	copy(block[148:156], "        ")
	var sum, signed int64
	for _, c := range block {
		sum += int64(c)
		signed += int64(int8(c))
	}
	formats := []string{"%06o\x00 ", "%06o\x00 ", "%06o\x00 ", "%07o\x00", "%06o  ", " %o\x00"}
	switch {
	case how < len(formats):
		copy(block[148:156], fmt.Sprintf(formats[how], sum))
	case how == len(formats):
		copy(block[148:156], fmt.Sprintf("%06o\x00 ", signed&0o777777))
	default:
		copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum+1))
	}
}
