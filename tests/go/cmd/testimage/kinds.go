package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// options say what an image holds; equal options give equal digests.
type options struct {
	kind    string
	busybox string
	seed    uint64
	layers  int
	files   int
	mib     int
}

func buildLayers(opts options) ([]*layer, error) {
	base, err := baseLayer(opts.busybox)
	if err != nil {
		return nil, err
	}
	random := newSource(opts.seed)
	switch opts.kind {
	case "full":
		return append([]*layer{base}, fullLayers(random)...), nil
	case "deep":
		return append([]*layer{base}, deepLayers(random, opts.layers-1)...), nil
	case "bulk":
		return append([]*layer{base}, bulkLayers(random, opts)...), nil
	case "plain":
		return append([]*layer{base}, fullTop(random)), nil
	default:
		return nil, fmt.Errorf("unknown kind %q: want full, deep, bulk or plain", opts.kind)
	}
}

// deepLayers makes many small layers, each of which changes something that the one before it made.
func deepLayers(random *source, count int) []*layer {
	var layers []*layer
	for i := 1; i <= count; i++ {
		l := newLayer(fmt.Sprintf("deep %d", i))
		l.dir("deep")
		l.file("deep/last", fmt.Sprintf("%d\n", i))
		l.file(fmt.Sprintf("deep/layer-%d", i), random.text(100))
		if i%8 == 0 {
			l.whiteout(fmt.Sprintf("deep/layer-%d", i-4))
		}
		l.dir("deep/only")
		if i > 1 {
			l.opaque("deep/only")
		}
		l.file(fmt.Sprintf("deep/only/layer-%d", i), "x\n")
		layers = append(layers, l)
	}
	return layers
}

// bulkLayers spreads the given number of files and MiB over the layers: for measuring, not for odd cases. Sizes differ
// as in a real root file system, where most files are small and most bytes are in the large ones.
func bulkLayers(random *source, opts options) []*layer {
	count := max(opts.layers-1, 1)
	files := max(opts.files/count, 1)
	bytes := opts.mib << 20 / count
	var layers []*layer
	for i := range count {
		l := newLayer(fmt.Sprintf("bulk %d", i))
		l.dir("bulk")
		top := fmt.Sprintf("bulk/layer-%d", i)
		l.dir(top)
		large := max(files/20, 1)
		smallSize := bytes / 10 / files
		largeSize := (bytes - smallSize*(files-large)) / large
		for n := range files {
			dir := fmt.Sprintf("%s/%d", top, n/100)
			if n%100 == 0 {
				l.dir(dir)
			}
			size := smallSize
			if n < large {
				size = largeSize
			}
			l.file(fmt.Sprintf("%s/%d", dir, n), random.text(size))
		}
		layers = append(layers, l)
	}
	return layers
}

// source makes content that repeats from run to run and compresses about as well as programs do.
type source struct {
	rand  *rand.Rand
	words []string
}

func newSource(seed uint64) *source {
	s := &source{rand: rand.New(rand.NewPCG(seed, 1))}
	for range 1024 {
		word := make([]byte, 2+s.rand.IntN(14))
		for i := range word {
			word[i] = byte(s.rand.Uint32())
		}
		s.words = append(s.words, string(word))
	}
	return s
}

func (s *source) text(size int) string {
	var b strings.Builder
	b.Grow(size + 16)
	for b.Len() < size {
		b.WriteString(s.words[s.rand.IntN(len(s.words))])
	}
	return b.String()[:size]
}
