package main

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ignore says which differences do not count.
type ignore struct {
	rootMtime     bool
	dirMtimes     bool
	touchedSince  time.Time
	nlink         bool
	overlayXattrs bool
	paths         []string
}

// touched says whether the time of the last change is one that the clock of the tests may have shown.
func (skip *ignore) touched(st *unix.Stat_t) bool {
	at := time.Unix(st.Mtim.Unix())
	return !skip.touchedSince.IsZero() && !at.Before(skip.touchedSince) && !at.After(time.Now())
}

// attribute is one named property of a file.
type attribute struct{ name, value string }

// file is all that can be seen of one path.
type file struct {
	path       string
	attributes []attribute
	inode      inode
}

type inode struct{ dev, ino uint64 }

// readTree lists root in the order of the paths.
func readTree(root string, skip ignore) ([]*file, error) {
	var files []*file
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if slices.Contains(skip.paths, relative) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		f, err := readFile(path, relative, skip)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(files, func(a, b *file) int { return cmp.Compare(a.path, b.path) })
	groupLinks(files)
	return files, nil
}

func readFile(path, relative string, skip ignore) (*file, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	f := &file{path: relative}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR

	f.add("type", typeOf(&st))
	f.add("mode", fmt.Sprintf("%04o", st.Mode&0o7777))
	f.add("uid", fmt.Sprint(st.Uid))
	f.add("gid", fmt.Sprint(st.Gid))
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		sum, err := hashFile(path)
		if err != nil {
			return nil, err
		}
		f.add("size", fmt.Sprint(st.Size))
		f.add("sha256", sum)
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return nil, err
		}
		f.add("target", fmt.Sprintf("%q", target))
	case unix.S_IFCHR, unix.S_IFBLK:
		f.add("rdev", fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)))
	}
	switch {
	case isDir && (skip.dirMtimes || relative == "." && skip.rootMtime):
	case (isDir || isWhiteout(&st)) && skip.touched(&st):
		f.add("mtime", "touched")
	default:
		f.add("mtime", fmt.Sprintf("%d.%09d", st.Mtim.Sec, st.Mtim.Nsec))
	}
	// A directory's count is the file system's own affair: btrfs and overlay always say 1.
	if !isDir && st.Nlink > 1 {
		f.inode = inode{st.Dev, st.Ino}
		if !skip.nlink {
			f.add("nlink", fmt.Sprint(st.Nlink))
		}
	}

	xattrs, err := readXattrs(path, skip)
	if err != nil {
		return nil, err
	}
	f.attributes = append(f.attributes, xattrs...)
	return f, nil
}

func (f *file) add(name, value string) {
	f.attributes = append(f.attributes, attribute{name, value})
}

func typeOf(st *unix.Stat_t) string {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "dir"
	case unix.S_IFLNK:
		return "symlink"
	case unix.S_IFCHR:
		if isWhiteout(st) {
			return "whiteout"
		}
		return "char"
	case unix.S_IFBLK:
		return "block"
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	default:
		return fmt.Sprintf("unknown-%o", st.Mode&unix.S_IFMT)
	}
}

// isWhiteout knows how overlayfs marks a removed file in an upperdir.
func isWhiteout(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 }

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", hash.Sum(nil)), nil
}

func readXattrs(path string, skip ignore) ([]attribute, error) {
	names, err := listXattrs(path)
	if err != nil {
		return nil, &fs.PathError{Op: "llistxattr", Path: path, Err: err}
	}
	var found []attribute
	for _, name := range names {
		if skip.overlayXattrs &&
			(strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.")) {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, &fs.PathError{Op: "lgetxattr " + name, Path: path, Err: err}
		}
		found = append(found, attribute{"xattr:" + name, fmt.Sprintf("%q", value[:n])})
	}
	slices.SortFunc(found, func(a, b attribute) int { return cmp.Compare(a.name, b.name) })
	return found, nil
}

func listXattrs(path string) ([]string, error) {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(string(list[:n]), func(r rune) bool { return r == 0 }), nil
}

// groupLinks names each group of hard links after its first path: inode numbers differ from tree to tree.
func groupLinks(files []*file) {
	first := map[inode]string{}
	members := map[inode]int{}
	for _, f := range files {
		if f.inode == (inode{}) {
			continue
		}
		if members[f.inode]++; members[f.inode] == 1 {
			first[f.inode] = f.path
		}
	}
	for _, f := range files {
		if members[f.inode] > 1 {
			f.add("links-with", fmt.Sprintf("%q", first[f.inode]))
		}
	}
}
