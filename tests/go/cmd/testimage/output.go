package main

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// push uploads the image over plain HTTP.
func push(reference string, img v1.Image, index v1.ImageIndex) error {
	ref, err := name.ParseReference(reference, name.Insecure, name.StrictValidation)
	if err != nil {
		return err
	}
	if index != nil {
		return remote.WriteIndex(ref, index)
	}
	return remote.Write(ref, img)
}

// writeArchive writes an OCI layout as one tar file, which `nerdctl load` and `ctr images import` read.
func writeArchive(file, imageName string, img v1.Image, index v1.ImageIndex) (err error) {
	dir, err := os.MkdirTemp("", "testimage-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	annotations := layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          imageName,
		"org.opencontainers.image.ref.name": imageName,
	})
	if index != nil {
		err = path.AppendIndex(index, annotations)
	} else {
		err = path.AppendImage(img, annotations)
	}
	if err != nil {
		return err
	}

	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := out.Close(); err == nil {
			err = closeErr
		}
	}()
	return tarDirectory(out, dir)
}

// tarDirectory writes the files of dir in the order of their names, without anything that differs from run to run.
func tarDirectory(out io.Writer, dir string) error {
	archive := tar.NewWriter(out)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		header := tar.Header{Name: relative, Mode: 0o644, Size: int64(len(content)), ModTime: epoch}
		if err := archive.WriteHeader(&header); err != nil {
			return fmt.Errorf("%s: %w", relative, err)
		}
		_, err = archive.Write(content)
		return err
	})
	if err != nil {
		return err
	}
	return archive.Close()
}
