package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"leasehold.dev/tests/internal/measure"
)

// report is what one round took.
type report struct {
	Seconds float64 `json:"seconds"`
	// CPUSeconds and PeakMiB are of this process and of the programs that it ran; the latter's largest is added.
	CPUSeconds float64 `json:"cpu_seconds"`
	PeakMiB    float64 `json:"peak_mib"`
	// Bytes are those of the uncompressed layers.
	Bytes  int64    `json:"bytes"`
	Layers []string `json:"layers"`
}

// runBench applies an image once. Which program inflates is containerd's choice: igzip or unpigz, if PATH has them.
func runBench(ctx context.Context, flags *flag.FlagSet, args []string) error {
	image := flags.String("image", "", "directory with the layers 0, 1 and so on")
	mediaType := flags.String("media-type", "", "media type of the layers")
	out := flags.String("out", "", "directory for the layers; it must not be there")
	parallel := flags.Int("parallel", 1, "layers under way at a time")
	durable := flags.Bool("sync", false, "sync the file system after each layer")
	parse(flags, args)
	if *image == "" || *out == "" || *mediaType == "" || *parallel < 1 {
		return errors.New("-image, -media-type and -out must be said")
	}
	blobs, err := filepath.Glob(filepath.Join(*image, "*"))
	if err != nil || len(blobs) == 0 {
		return fmt.Errorf("%s has no layers (%v)", *image, err)
	}
	if err := os.Mkdir(*out, 0o755); err != nil {
		return err
	}
	// With an upperdir and nothing else, each is what a parallel unpack applies; those before it are what one after the
	// other has.
	dirs := make([]string, len(blobs))
	for n := range dirs {
		dirs[n] = filepath.Join(*out, strconv.Itoa(n))
		if err := os.Mkdir(dirs[n], 0o755); err != nil {
			return err
		}
	}

	r := &report{Layers: make([]string, len(blobs))}
	var mutex sync.Mutex
	start, cpu := time.Now(), cpuSeconds()
	err = measure.Each(*parallel, len(blobs), func(_, n int) error {
		blob, err := openSource(filepath.Join(*image, strconv.Itoa(n)))
		if err != nil {
			return err
		}
		var lower []string
		for below := n - 1; *parallel == 1 && below >= 0; below-- {
			lower = append(lower, dirs[below])
		}
		answer, err := applyLayer(ctx, blob, *mediaType, overlayMount(dirs[n], lower), *durable)
		if err != nil {
			return err
		}
		mutex.Lock()
		defer mutex.Unlock()
		r.Bytes += answer.Size
		r.Layers[n] = answer.DiffID.String()
		return nil
	})
	if err != nil {
		return err
	}
	r.Seconds = time.Since(start).Seconds()
	r.CPUSeconds = cpuSeconds() - cpu
	r.PeakMiB = peakMiB()
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// usages are those of this process, and of what it ran and waited for.
func usages() (self, children syscall.Rusage) {
	// Neither call can fail with these arguments.
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &self)
	_ = syscall.Getrusage(syscall.RUSAGE_CHILDREN, &children)
	return self, children
}

func cpuSeconds() float64 {
	self, children := usages()
	sum := self.Utime.Nano() + self.Stime.Nano() + children.Utime.Nano() + children.Stime.Nano()
	return time.Duration(sum).Seconds()
}

func peakMiB() float64 {
	self, children := usages()
	return float64(self.Maxrss+children.Maxrss) / 1024
}
