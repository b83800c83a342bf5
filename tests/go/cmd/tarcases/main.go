// Command tarcases makes small layers with everything in them that a tar archive can have, and much that it should not
// have: for comparing how two programs unpack them. The same seed always gives the same bytes.
//
// A case is a chain of layers, DIR/CASE/0.tar, 1.tar and so on, the lowest first. Cases with a word for a name show one
// thing each; cases with a number for a name are random.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("tarcases: ")
	var (
		out      = flag.String("o", "", "directory for the cases")
		seed     = flag.Uint64("seed", 1, "seed of the first random case; the others follow")
		count    = flag.Int("count", 1000, "random cases")
		named    = flag.Bool("named", true, "make the cases that have names, too")
		describe = flag.String("describe", "", "say what is in the case of this name, and make nothing")
	)
	flag.Parse()
	if flag.NArg() != 0 || (*out == "") == (*describe == "") {
		flag.Usage()
		os.Exit(2)
	}
	var err error
	if *describe != "" {
		err = printCase(*describe)
	} else {
		err = writeCases(*out, *seed, *count, *named)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func writeCases(out string, seed uint64, count int, named bool) error {
	if named {
		for _, c := range namedCases() {
			if err := writeCase(filepath.Join(out, c.name), c.layers); err != nil {
				return err
			}
		}
	}
	for n := range uint64(count) {
		if err := writeCase(filepath.Join(out, strconv.FormatUint(seed+n, 10)), randomCase(seed+n)); err != nil {
			return err
		}
	}
	return nil
}

func writeCase(dir string, layers []*archive) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for n, layer := range layers {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(n)+".tar"), layer.buf.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func printCase(name string) error {
	layers, err := caseOf(name)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	for n, layer := range layers {
		fmt.Fprintf(out, "layer %d, %d bytes\n", n, layer.buf.Len())
		for _, line := range layer.notes {
			fmt.Fprintf(out, "  %s\n", line)
		}
	}
	return out.Flush()
}

func caseOf(name string) ([]*archive, error) {
	if seed, err := strconv.ParseUint(name, 10, 64); err == nil {
		return randomCase(seed), nil
	}
	for _, c := range namedCases() {
		if c.name == name {
			return c.layers, nil
		}
	}
	return nil, fmt.Errorf("no case is called %q", name)
}
