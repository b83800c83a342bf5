// Command testimage builds container images for tests and pushes them to a registry or writes them to a file. The same
// flags always give the same digests. It prints a JSON description of what it made.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"log"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("testimage: ")
	var (
		opts options
		enc  encoding
		out  output
	)
	flag.StringVar(&opts.kind, "kind", "plain", "full (every odd case), deep (many layers), bulk (many bytes) or plain")
	flag.StringVar(&opts.busybox, "busybox", "/bin/busybox", "statically linked busybox for the base layer")
	flag.Uint64Var(&opts.seed, "seed", 1, "changes the content of every layer above the base layer")
	flag.IntVar(&opts.layers, "layers", 64, "layers of a deep or bulk image, base layer included")
	flag.IntVar(&opts.files, "files", 10000, "files of a bulk image")
	flag.IntVar(&opts.mib, "mib", 256, "uncompressed size of a bulk image in MiB")
	flag.BoolVar(&enc.docker, "docker", false, "use docker's media types instead of OCI's")
	flag.StringVar(&enc.compression, "compression", "gzip", "gzip, zstd or none")
	flag.BoolVar(&out.index, "index", false, "publish the image inside an index")
	flag.StringVar(&out.push, "push", "", "push to this reference over plain HTTP, e.g. 127.0.0.1:5000/test:full")
	flag.StringVar(&out.archive, "o", "", "write an OCI layout to this tar file")
	flag.StringVar(&out.name, "name", "", "image name inside the tar file (default: the -push reference)")
	flag.Parse()
	if flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(opts, enc, out); err != nil {
		log.Fatal(err)
	}
}

// output says where the image goes.
type output struct {
	push    string
	archive string
	name    string
	index   bool
}

func run(opts options, enc encoding, out output) error {
	layers, err := buildLayers(opts)
	if err != nil {
		return err
	}
	img, err := buildImage(layers, enc)
	if err != nil {
		return err
	}
	var index v1.ImageIndex
	if out.index {
		index = buildIndex(img, enc)
	}

	if out.push != "" {
		if err := push(out.push, img, index); err != nil {
			return err
		}
	}
	if out.archive != "" {
		imageName := cmp.Or(out.name, out.push)
		if imageName == "" {
			return errors.New("-o needs -name")
		}
		if err := writeArchive(out.archive, imageName, img, index); err != nil {
			return err
		}
	}
	return describe(img, index)
}

type description struct {
	Target   v1.Hash            `json:"target"`
	Manifest v1.Hash            `json:"manifest"`
	Config   v1.Hash            `json:"config"`
	Layers   []layerDescription `json:"layers"`
}

type layerDescription struct {
	Digest  v1.Hash       `json:"digest"`
	DiffID  v1.Hash       `json:"diff_id"`
	ChainID digest.Digest `json:"chain_id"`
	Size    int64         `json:"size"`
}

// describe prints the digests that a test compares with what is on disk.
func describe(img v1.Image, index v1.ImageIndex) error {
	var (
		d   description
		err error
	)
	if d.Manifest, err = img.Digest(); err != nil {
		return err
	}
	d.Target = d.Manifest
	if index != nil {
		if d.Target, err = index.Digest(); err != nil {
			return err
		}
	}
	if d.Config, err = img.ConfigName(); err != nil {
		return err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	var chain []digest.Digest
	for i, blob := range manifest.Layers {
		diffID := config.RootFS.DiffIDs[i]
		chain = append(chain, digest.Digest(diffID.String()))
		d.Layers = append(d.Layers, layerDescription{
			Digest: blob.Digest, DiffID: diffID, ChainID: identity.ChainID(chain), Size: blob.Size,
		})
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(d)
}
