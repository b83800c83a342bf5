// Command refapply applies layers with containerd's own differ: what ours is compared with and measured against.
//
//	refapply layer  applies one layer and prints its DiffID and size
//	refapply cases  applies the layers that tarcases made, and prints what became of each
//	refapply bench  applies the layers of an image once, and prints what it took
//	refapply compare  makes a layer of a change to that image, and prints what it took
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	clog "github.com/containerd/log"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("refapply: ")
	// containerd warns of every extended attribute that it leaves out.
	if err := clog.SetLevel("error"); err != nil {
		log.Fatal(err)
	}
	modes := map[string]func(context.Context, *flag.FlagSet, []string) error{
		"layer":   runLayer,
		"cases":   runCases,
		"bench":   runBench,
		"compare": runCompare,
	}
	if len(os.Args) < 2 || modes[os.Args[1]] == nil {
		log.Print("usage: refapply layer|cases|bench|compare [flags]")
		os.Exit(2)
	}
	flags := flag.NewFlagSet("refapply "+os.Args[1], flag.ExitOnError)
	if err := modes[os.Args[1]](context.Background(), flags, os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

// parse reads the flags, and ends the program when there is anything else.
func parse(flags *flag.FlagSet, args []string) {
	// With ExitOnError it does not return an error.
	_ = flags.Parse(args)
	if flags.NArg() != 0 {
		flags.Usage()
		os.Exit(2)
	}
}

func runLayer(ctx context.Context, flags *flag.FlagSet, args []string) error {
	blob := flags.String("blob", "", "file with the layer; - reads it from standard input")
	mediaType := flags.String("media-type", ocispec.MediaTypeImageLayerGzip, "media type of the layer")
	upper := flags.String("upperdir", "", "apply to this upperdir of an overlay mount")
	lower := flags.String("lowerdir", "", "lower directories of the overlay mount, nearest first, with colons between them")
	plain := flags.String("dir", "", "apply to a bind mount of this directory")
	sync := flags.Bool("sync", false, "sync the file system before the end")
	parse(flags, args)
	var target mount.Mount
	switch {
	case *blob == "" || (*upper == "") == (*plain == ""):
		return fmt.Errorf("-blob, and one of -upperdir and -dir, must be said")
	case *upper != "":
		target = overlayMount(*upper, splitPaths(*lower))
	default:
		target = bindMount(*plain)
	}
	source, err := openSource(*blob)
	if err != nil {
		return err
	}
	applied, err := applyLayer(ctx, source, *mediaType, target, *sync)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(applied)
}

func splitPaths(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ":")
}
