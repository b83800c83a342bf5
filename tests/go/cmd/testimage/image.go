package main

import (
	"bytes"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// encoding is how an image is written down: the same layers, other digests.
type encoding struct {
	docker      bool
	compression string
}

var platform = v1.Platform{OS: "linux", Architecture: "amd64"}

func buildImage(layers []*layer, enc encoding) (v1.Image, error) {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	if enc.docker {
		img = mutate.MediaType(empty.Image, types.DockerManifestSchema2)
		img = mutate.ConfigMediaType(img, types.DockerConfigJSON)
	}

	created := v1.Time{Time: epoch}
	var addenda []mutate.Addendum
	for _, l := range layers {
		blob, err := encodeLayer(l.bytes(), enc)
		if err != nil {
			return nil, fmt.Errorf("layer %q: %w", l.comment, err)
		}
		addenda = append(addenda, mutate.Addendum{
			Layer:   blob,
			History: v1.History{Created: created, CreatedBy: "testimage " + l.comment},
		})
	}
	// As a Dockerfile's ENV does: a history entry without a layer.
	addenda = append(addenda, mutate.Addendum{
		History: v1.History{Created: created, CreatedBy: "testimage config", EmptyLayer: true},
	})
	img, err := mutate.Append(img, addenda...)
	if err != nil {
		return nil, err
	}

	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = platform.OS, platform.Architecture, created
	config.Config.Env = []string{"PATH=/usr/bin:/bin", "TESTIMAGE=1"}
	config.Config.Cmd = []string{"sh"}
	config.Config.WorkingDir = "/"
	return mutate.ConfigFile(img, config)
}

// buildIndex wraps the image the way a multi-platform image is published.
func buildIndex(img v1.Image, enc encoding) v1.ImageIndex {
	mediaType := types.OCIImageIndex
	if enc.docker {
		mediaType = types.DockerManifestList
	}
	index := mutate.IndexMediaType(empty.Index, mediaType)
	return mutate.AppendManifests(index, mutate.IndexAddendum{
		Add:        img,
		Descriptor: v1.Descriptor{Platform: &platform},
	})
}

func encodeLayer(stream []byte, enc encoding) (v1.Layer, error) {
	var (
		mediaType types.MediaType
		algorithm compression.Compression
	)
	switch enc.compression {
	case "gzip":
		mediaType, algorithm = types.OCILayer, compression.GZip
		if enc.docker {
			mediaType = types.DockerLayer
		}
	case "zstd":
		if enc.docker {
			return nil, fmt.Errorf("docker's media types have no zstd layers")
		}
		mediaType, algorithm = types.OCILayerZStd, compression.ZStd
	case "none":
		mediaType = types.OCIUncompressedLayer
		if enc.docker {
			mediaType = types.DockerUncompressedLayer
		}
		return static.NewLayer(stream, mediaType), nil
	default:
		return nil, fmt.Errorf("unknown compression %q: want gzip, zstd or none", enc.compression)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(stream)), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(mediaType), tarball.WithCompression(algorithm))
}
