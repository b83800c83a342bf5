// Command treediff lists all that can be seen of a directory tree, one line a path, or compares two trees.
//
// It exits 1 when the trees differ and 2 when it cannot tell.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

func main() {
	var skip ignore
	flag.BoolVar(&skip.rootMtime, "ignore-root-mtime", false, "leave out the mtime of the root itself")
	flag.BoolVar(&skip.dirMtimes, "ignore-dir-mtimes", false, "leave out the mtimes of all directories")
	flag.Func("touched-since", "show the mtime of a directory or a whiteout as \"touched\" from this RFC 3339 time "+
		"until now: what has no entry of its own in a layer is stamped with the clock", func(text string) (err error) {
		skip.touchedSince, err = time.Parse(time.RFC3339, text)
		return err
	})
	flag.BoolVar(&skip.nlink, "ignore-nlink", false, "leave out link counts (groups of hard links stay)")
	flag.BoolVar(&skip.overlayXattrs, "ignore-overlay-xattrs", false, "leave out trusted.overlay.* and user.overlay.*")
	flag.Func("ignore", "leave out this path, relative to the root (may be repeated)", func(path string) error {
		skip.paths = append(skip.paths, path)
		return nil
	})
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: treediff [flags] TREE [TREE]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 && flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}

	var trees [][]*file
	for _, root := range flag.Args() {
		tree, err := readTree(root, skip)
		if err != nil {
			fmt.Fprintf(os.Stderr, "treediff: %v\n", err)
			os.Exit(2)
		}
		trees = append(trees, tree)
	}

	out := bufio.NewWriter(os.Stdout)
	differences := 0
	if len(trees) == 1 {
		for _, f := range trees[0] {
			fmt.Fprintln(out, f)
		}
	} else {
		differences = compare(out, trees[0], trees[1])
	}
	if err := out.Flush(); err != nil {
		fmt.Fprintf(os.Stderr, "treediff: %v\n", err)
		os.Exit(2)
	}
	if differences > 0 {
		fmt.Fprintf(os.Stderr, "treediff: %d paths differ\n", differences)
		os.Exit(1)
	}
}

func (f *file) String() string {
	var b strings.Builder
	// Quoted: a name may hold a newline, or bytes that are no text.
	fmt.Fprintf(&b, "%q", f.path)
	for _, a := range f.attributes {
		fmt.Fprintf(&b, " %s=%s", a.name, a.value)
	}
	return b.String()
}

// compare prints the paths that only one tree has, and for the others the attributes that differ.
func compare(out io.Writer, left, right []*file) int {
	differences := 0
	for len(left) > 0 || len(right) > 0 {
		switch {
		case len(right) == 0 || len(left) > 0 && left[0].path < right[0].path:
			fmt.Fprintf(out, "- %s\n", left[0])
			left = left[1:]
			differences++
		case len(left) == 0 || right[0].path < left[0].path:
			fmt.Fprintf(out, "+ %s\n", right[0])
			right = right[1:]
			differences++
		default:
			if changes := left[0].changes(right[0]); changes != "" {
				fmt.Fprintf(out, "~ %q%s\n", left[0].path, changes)
				differences++
			}
			left, right = left[1:], right[1:]
		}
	}
	return differences
}

func (f *file) changes(other *file) string {
	var b strings.Builder
	for _, a := range f.attributes {
		if value := other.get(a.name); value != a.value {
			fmt.Fprintf(&b, " %s=%s|%s", a.name, a.value, value)
		}
	}
	for _, a := range other.attributes {
		if f.get(a.name) == "" {
			fmt.Fprintf(&b, " %s=|%s", a.name, a.value)
		}
	}
	return b.String()
}

// get returns "" for an attribute that the file lacks; no attribute is empty, since xattr values are quoted.
func (f *file) get(name string) string {
	for _, a := range f.attributes {
		if a.name == name {
			return a.value
		}
	}
	return ""
}
