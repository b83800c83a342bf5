package main

import (
	"encoding/binary"
	"strings"
)

func (w *world) mode(usual int64) int64 {
	if w.chance(60) {
		return usual
	}
	return pick(w, int64(0), 0o400, 0o111, 0o600, 0o700, 0o777, 0o1777, 0o2755, 0o2644, 0o4755, 0o6711, 0o7777)
}

func (w *world) owner() int64 {
	if w.chance(60) {
		return 0
	}
	if w.wild && w.chance(10) {
		return pick(w, int64(-1), -2, 1<<32-1, 1<<32, 1<<32+7, 1<<40+3)
	}
	return pick(w, int64(1), 1000, 65534, 65536, 2097151, 2097152, 1<<31-1, 1<<31, 1<<32-2)
}

// time returns seconds and nanoseconds. None lies in the years in which the tests run: a program that leaves a time to the
// clock shows by that.
func (w *world) time() (int64, int64) {
	seconds := 1_000_000_000 + w.Int64N(700_000_000)
	switch n := w.IntN(20); {
	case n < 8:
		return seconds, 0
	case n < 15:
		return seconds, pick(w, int64(1), 999_999_999, 500_000_000, 123_456_789, w.Int64N(1_000_000_000))
	default:
		return pick(w, int64(0), 1, -1, -1_000_000, 1<<31-1, 1<<31+1_900_000_000, 1<<33-1, 1<<33, 1<<34, 9_223_372_036, 9_223_372_037,
			1<<40, 1<<55), pick(w, int64(0), 0, 7)
	}
}

// xattrs returns extended attributes that the kind of file can have, and some that it cannot.
func (w *world) xattrs(flag byte) []record {
	usual := []record{
		{"user.a", "value"}, {"user.b", ""}, {"user.c", "binary \x00 = \n \xff"}, {"user.long", strings.Repeat("v", 1500)},
		{"security.capability", capability}, {"security.ima", "\x01abc"}, {"trusted.a", "left out"}, {"trusted.overlay.opaque", "y"},
		{"user.overlay.opaque", "y"}, {"system.posix_acl_access", accessACL}, {"unknown.a", "left out"}, {"user.ä", "ü"},
	}
	if flag == '5' {
		usual = append(usual, record{"system.posix_acl_default", accessACL})
	}
	if w.wild && w.chance(30) {
		usual = []record{
			{"", "no name"}, {"user.", "no name"}, {"security.capability", "too short"}, {"system.posix_acl_access", "broken"},
			{"system.posix_acl_default", accessACL}, {"user." + strings.Repeat("n", 250), "x"}, {"user." + strings.Repeat("n", 251), "x"},
			{"user.huge", strings.Repeat("v", 70_000)}, {"user.large", strings.Repeat("v", 5000)}, {"plain", "x"},
		}
	}
	w.Shuffle(len(usual), func(i, j int) { usual[i], usual[j] = usual[j], usual[i] })
	return usual[:1+w.IntN(2)]
}

var (
	// capability lets a program open raw sockets: version 2 of the kernel's format, cap_net_raw permitted and effective.
	capability = words(0x02000001, 1<<13, 0, 0, 0)
	// accessACL gives user 1000 read and execute.
	accessACL = words(2) + aclEntry(0x01, 7, 1<<32-1) + aclEntry(0x02, 5, 1000) + aclEntry(0x04, 5, 1<<32-1) +
		aclEntry(0x10, 5, 1<<32-1) + aclEntry(0x20, 4, 1<<32-1)
)

func words(values ...uint32) string {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return string(b)
}

func aclEntry(tag, permissions uint16, id uint32) string {
	b := binary.LittleEndian.AppendUint16(nil, tag)
	b = binary.LittleEndian.AppendUint16(b, permissions)
	return string(binary.LittleEndian.AppendUint32(b, id))
}
