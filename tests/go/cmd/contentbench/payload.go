package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/opencontainers/go-digest"
)

// header is what the parts of a blob begin with: the numbers of the blob and of the part, so that no two are the same.
const header = 16

// payload makes blobs of one size, part by part.
type payload struct {
	size    int64
	pattern []byte
}

func newPayload(size int64, part int) *payload {
	pattern := make([]byte, min(int64(part), size))
	random := rand.NewChaCha8([32]byte{1})
	// It never fails.
	_, _ = random.Read(pattern)
	return &payload{size: size, pattern: pattern}
}

// parts tells how many parts a blob has.
func (p *payload) parts() int64 {
	part := int64(len(p.pattern))
	return (p.size + part - 1) / part
}

// buffer returns what part fills.
func (p *payload) buffer() []byte { return append([]byte(nil), p.pattern...) }

// part makes one part of a blob in a buffer of this payload.
func (p *payload) part(buffer []byte, blob int, part int64) []byte {
	binary.BigEndian.PutUint64(buffer, uint64(blob))
	binary.BigEndian.PutUint64(buffer[8:], uint64(part))
	return buffer[:min(int64(len(buffer)), p.size-part*int64(len(buffer)))]
}

// check tells whether these are the first bytes of a part.
func (p *payload) check(data []byte, blob int, part int64) error {
	if len(data) < header {
		return fmt.Errorf("%d bytes are not a part of a blob", len(data))
	}
	gotBlob, gotPart := binary.BigEndian.Uint64(data), binary.BigEndian.Uint64(data[8:])
	if gotBlob != uint64(blob) || gotPart != uint64(part) {
		return fmt.Errorf("part %d of blob %d, want part %d of blob %d", gotPart, gotBlob, part, blob)
	}
	return nil
}

// digest hashes a whole blob.
func (p *payload) digest(blob int) digest.Digest {
	digester, buffer := digest.Canonical.Digester(), p.buffer()
	for part := range p.parts() {
		// A hash never fails.
		_, _ = digester.Hash().Write(p.part(buffer, blob, part))
	}
	return digester.Digest()
}
