// Command refdiffer does what containerd's own differ does, on directories: it writes a layer of what one has and the other
// has not, and applies a layer. It is what leasehold's differ is compared with.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
)

func main() {
	epoch := flag.Int64("epoch", -1, "diff: no time in the layer is later, in seconds since 1970")
	overlay := flag.Bool("overlay", false, "apply: the directory is an upperdir")
	parents := flag.String("parents", "", "apply: directories of the layers below, nearest first, separated by colons")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: refdiffer [-epoch N] diff LOWER UPPER >LAYER\n"+
			"       refdiffer [-overlay] [-parents DIRS] apply DIR <LAYER")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(*epoch, *overlay, *parents); err != nil {
		fmt.Fprintf(os.Stderr, "refdiffer: %v\n", err)
		os.Exit(1)
	}
}

func run(epoch int64, overlay bool, parents string) error {
	ctx := context.Background()
	switch {
	case flag.NArg() == 3 && flag.Arg(0) == "diff":
		var opts []archive.WriteDiffOpt
		if epoch >= 0 {
			latest := time.Unix(epoch, 0).UTC()
			opts = append(opts, archive.WithSourceDateEpoch(&latest))
		}
		return archive.WriteDiff(ctx, os.Stdout, flag.Arg(1), flag.Arg(2), opts...)
	case flag.NArg() == 2 && flag.Arg(0) == "apply":
		var opts []archive.ApplyOpt
		if overlay {
			opts = append(opts, archive.WithConvertWhiteout(archive.OverlayConvertWhiteout))
		}
		if parents != "" {
			opts = append(opts, archive.WithParents(strings.Split(parents, ":")))
		}
		layer, err := compression.DecompressStream(os.Stdin)
		if err != nil {
			return err
		}
		defer layer.Close()
		_, err = archive.Apply(ctx, flag.Arg(1), layer, opts...)
		return err
	default:
		flag.Usage()
		os.Exit(2)
		return nil
	}
}
