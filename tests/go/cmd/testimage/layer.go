package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"path"
	"strings"
	"time"
)

// Fixed, so that the same flags always give the same digests.
var epoch = time.Date(2024, time.March, 1, 12, 0, 0, 0, time.UTC)

const (
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
)

// layer collects the tar stream of one image layer.
type layer struct {
	buf     bytes.Buffer
	tar     *tar.Writer
	comment string
	written map[string]tar.Header
}

func newLayer(comment string) *layer {
	l := &layer{comment: comment, written: map[string]tar.Header{}}
	l.tar = tar.NewWriter(&l.buf)
	return l
}

// option changes the header of an entry before it is written.
type option func(*tar.Header)

func mode(m int64) option       { return func(h *tar.Header) { h.Mode = m } }
func owner(uid, gid int) option { return func(h *tar.Header) { h.Uid, h.Gid = uid, gid } }

func mtime(t time.Time) option { return func(h *tar.Header) { h.ModTime = t } }

func xattr(name, value string) option {
	return func(h *tar.Header) {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+name] = value
	}
}

func (l *layer) file(name, content string, opts ...option) {
	l.add(tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o644}, content, opts)
}

func (l *layer) dir(name string, opts ...option) {
	l.add(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}, "", opts)
}

func (l *layer) symlink(name, target string, opts ...option) {
	l.add(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, "", opts)
}

// hardlink names a file that an earlier entry of the same layer made. Its header repeats that entry's metadata, as
// image builders write it: an unpacker may apply either.
func (l *layer) hardlink(name, target string, opts ...option) {
	header, ok := l.written[target]
	if !ok {
		panic(fmt.Sprintf("%s: no entry %q before it", name, target))
	}
	header.Typeflag, header.Name, header.Linkname, header.Size = tar.TypeLink, name, target, 0
	l.add(header, "", append([]option{mtime(header.ModTime)}, opts...))
}

func (l *layer) device(name string, kind byte, major, minor int64, opts ...option) {
	l.add(tar.Header{Typeflag: kind, Name: name, Devmajor: major, Devminor: minor, Mode: 0o660}, "", opts)
}

func (l *layer) fifo(name string, opts ...option) {
	l.add(tar.Header{Typeflag: tar.TypeFifo, Name: name, Mode: 0o640}, "", opts)
}

// whiteout hides name in the layers below.
func (l *layer) whiteout(name string) {
	l.file(path.Join(path.Dir(name), whiteoutPrefix+path.Base(name)), "", mode(0))
}

// opaque hides everything that the layers below have in the directory.
func (l *layer) opaque(dir string) {
	l.file(path.Join(dir, opaqueMarker), "", mode(0))
}

func (l *layer) add(header tar.Header, content string, opts []option) {
	header.ModTime = epoch
	// PAX carries everything that the older formats cut off: long names, nanoseconds, large owners, xattrs.
	header.Format = tar.FormatPAX
	for _, opt := range opts {
		opt(&header)
	}
	l.written[header.Name] = header
	// Writing to memory fails only for a header that cannot be encoded: a mistake in the image's description.
	if err := l.tar.WriteHeader(&header); err != nil {
		panic(fmt.Sprintf("%s: %v", header.Name, err))
	}
	if _, err := l.tar.Write([]byte(content)); err != nil {
		panic(fmt.Sprintf("%s: %v", header.Name, err))
	}
}

// bytes ends the stream.
func (l *layer) bytes() []byte {
	if err := l.tar.Close(); err != nil {
		panic(err)
	}
	return l.buf.Bytes()
}

// nested returns a path of depth directories, each name of the given length.
func nested(prefix string, depth, length int) string {
	return path.Join(prefix, strings.TrimSuffix(strings.Repeat(strings.Repeat("d", length)+"/", depth), "/"))
}
