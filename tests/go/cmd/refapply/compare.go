package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/diff/walking"
	"github.com/opencontainers/go-digest"
)

// runCompare has containerd's differ make a layer of a change to the image that bench has applied.
func runCompare(ctx context.Context, flags *flag.FlagSet, args []string) error {
	applied := flags.String("applied", "", "what bench had as -out")
	change := flags.String("change", "", "directory whose files are the change")
	work := flags.String("work", "", "directory for the rest; it must not be there")
	parse(flags, args)
	if *applied == "" || *change == "" || *work == "" {
		return errors.New("-applied, -change and -work must be said")
	}
	layers, err := os.ReadDir(*applied)
	if err != nil {
		return err
	}
	var lower []string
	for n := len(layers) - 1; n >= 0; n-- {
		lower = append(lower, filepath.Join(*applied, strconv.Itoa(n)))
	}
	upper, index := filepath.Join(*work, "upper"), filepath.Join(*work, "index")
	for _, dir := range []string{*work, upper, index} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if output, err := exec.Command("cp", "-a", filepath.Join(*change, "."), upper).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, output)
	}
	store, err := local.NewLabeledStore(filepath.Join(*work, "content"), labels{})
	if err != nil {
		return err
	}
	right := overlayMount(upper, lower)
	right.Options = append(right.Options, "workdir="+index)
	left := mount.Mount{Type: "overlay", Source: "overlay", Options: right.Options[1:2]}

	start, cpu := time.Now(), cpuSeconds()
	made, err := walking.NewWalkingDiff(store).Compare(ctx, []mount.Mount{left}, []mount.Mount{right})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(&report{
		Seconds:    time.Since(start).Seconds(),
		CPUSeconds: cpuSeconds() - cpu,
		PeakMiB:    peakMiB(),
		Bytes:      made.Size,
	})
}

// labels are those of the blobs; in containerd, its metadata has them.
type labels map[digest.Digest]map[string]string

func (l labels) Get(blob digest.Digest) (map[string]string, error) { return l[blob], nil }

func (l labels) Set(blob digest.Digest, all map[string]string) error {
	l[blob] = all
	return nil
}

func (l labels) Update(blob digest.Digest, some map[string]string) (map[string]string, error) {
	all := maps.Clone(l[blob])
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, some)
	l[blob] = all
	return all, nil
}
