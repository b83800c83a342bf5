package main

import (
	"bytes"
	"context"
	// What the digests are made with.
	_ "crypto/sha256"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// applied is what containerd answers about a layer.
type applied struct {
	// DiffID and Size are of the uncompressed layer.
	DiffID digest.Digest `json:"diff_id"`
	Size   int64         `json:"size"`
}

// source is a content store with one blob in it.
type source struct {
	size int64
	open func() (content.ReaderAt, error)
}

func (s source) ReaderAt(context.Context, ocispec.Descriptor) (content.ReaderAt, error) {
	return s.open()
}

// openSource reads the file the way that containerd's content store reads a blob.
func openSource(path string) (source, error) {
	if path == "-" {
		data, err := io.ReadAll(os.Stdin)
		if err != nil {
			return source{}, fmt.Errorf("standard input: %w", err)
		}
		return bytesSource(data), nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return source{}, err
	}
	return source{info.Size(), func() (content.ReaderAt, error) { return local.OpenReader(path) }}, nil
}

func bytesSource(data []byte) source {
	return source{int64(len(data)), func() (content.ReaderAt, error) { return memory{bytes.NewReader(data)}, nil }}
}

// memory is a blob that is no file.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

// applyLayer runs containerd's differ, without its daemon.
func applyLayer(ctx context.Context, s source, mediaType string, target mount.Mount, sync bool) (applied, error) {
	// It is looked up by nothing but what the source ignores.
	desc := ocispec.Descriptor{MediaType: mediaType, Size: s.size}
	withSync := func(_ context.Context, _ ocispec.Descriptor, config *diff.ApplyConfig) error {
		config.SyncFs = sync
		return nil
	}
	answer, err := apply.NewFileSystemApplier(s).Apply(ctx, desc, []mount.Mount{target}, withSync)
	if err != nil {
		return applied{}, err
	}
	return applied{answer.Digest, answer.Size}, nil
}

// overlayMount is what a snapshotter answers for layers that lie on others.
func overlayMount(upper string, lower []string) mount.Mount {
	options := []string{"upperdir=" + upper}
	if len(lower) > 0 {
		options = append(options, "lowerdir="+strings.Join(lower, ":"))
	}
	return mount.Mount{Type: "overlay", Source: "overlay", Options: options}
}

// bindMount is what a snapshotter answers for a directory of its own.
func bindMount(dir string) mount.Mount {
	return mount.Mount{Type: "bind", Source: dir, Options: []string{"rbind", "rw"}}
}
