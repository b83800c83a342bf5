package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/containerd/containerd/v2/core/mount"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"leasehold.dev/tests/internal/measure"
)

// outcome is what became of one layer of one case.
type outcome struct {
	Case  string `json:"case"`
	Layer int    `json:"layer"`
	// Plain says that all layers of the case go into one directory, each onto what those before it left.
	Plain bool `json:"plain"`
	applied
	// Error is why the layer cannot be applied; the layers after it are not tried.
	Error string `json:"error,omitempty"`
}

// runCases applies each case below -cases twice: its layers as those of an overlay, to -out/CASE/0, 1 and so on, and
// one after the other to -out/CASE/plain.
func runCases(ctx context.Context, flags *flag.FlagSet, args []string) error {
	cases := flags.String("cases", "", "directory with a directory for each case, in which the layers are 0.tar, 1.tar and so on")
	out := flags.String("out", "", "directory for what becomes of them")
	parse(flags, args)
	if *cases == "" || *out == "" {
		return errors.New("-cases and -out must be said")
	}
	found, err := os.ReadDir(*cases)
	if err != nil {
		return err
	}
	outcomes := make([][]outcome, len(found))
	err = measure.Each(runtime.NumCPU(), len(found), func(_, n int) error {
		name := found[n].Name()
		layers, err := readLayers(filepath.Join(*cases, name))
		if err != nil {
			return err
		}
		outcomes[n], err = applyCase(ctx, name, layers, filepath.Join(*out, name))
		return err
	})
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(os.Stdout)
	for _, of := range outcomes {
		for _, o := range of {
			if err := encoder.Encode(o); err != nil {
				return err
			}
		}
	}
	return nil
}

func readLayers(dir string) ([][]byte, error) {
	var layers [][]byte
	for {
		layer, err := os.ReadFile(filepath.Join(dir, strconv.Itoa(len(layers))+".tar"))
		if errors.Is(err, os.ErrNotExist) && len(layers) > 0 {
			return layers, nil
		}
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
}

func applyCase(ctx context.Context, name string, layers [][]byte, out string) ([]outcome, error) {
	var outcomes []outcome
	// one applies a layer, and says whether the next one can be tried. What is left of one that cannot be applied is
	// nobody's business, so it goes.
	one := func(n int, plain bool, dir string, target mount.Mount) bool {
		answer, err := applyLayer(ctx, bytesSource(layers[n]), ocispec.MediaTypeImageLayer, target, false)
		o := outcome{Case: name, Layer: n, Plain: plain, applied: answer}
		if err != nil {
			o.Error = err.Error()
			_ = os.RemoveAll(dir)
		}
		outcomes = append(outcomes, o)
		return err == nil
	}

	var lower []string
	for n := range layers {
		dir := filepath.Join(out, strconv.Itoa(n))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("directory of a layer: %w", err)
		}
		if !one(n, false, dir, overlayMount(dir, lower)) {
			break
		}
		lower = append([]string{dir}, lower...)
	}

	plain := filepath.Join(out, "plain")
	if err := os.MkdirAll(plain, 0o755); err != nil {
		return nil, fmt.Errorf("directory of a case: %w", err)
	}
	for n := range layers {
		if !one(n, true, plain, bindMount(plain)) {
			break
		}
	}
	return outcomes, nil
}
