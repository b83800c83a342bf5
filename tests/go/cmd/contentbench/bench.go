package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"time"

	"leasehold.dev/tests/internal/measure"
)

// bench drives the server. Its streams share the connections, of which containerd has one.
type bench struct {
	settings
	ctx     context.Context
	conns   []*grpc.ClientConn
	clients []contentapi.ContentClient
	// The same connections, used as containerd uses them.
	stores []content.Store

	payload *payload
	// Made before the clock starts.
	digests []digest.Digest

	open, write, commit, call measure.Samples
}

func connect(ctx context.Context, s settings) (*bench, error) {
	b := &bench{
		settings: s,
		// As containerd sends it with every call of a client.
		ctx:     metadata.AppendToOutgoingContext(ctx, "containerd-namespace", "bench"),
		payload: newPayload(s.size, s.part),
		digests: make([]digest.Digest, s.blobs),
	}
	for range s.connections {
		conn, err := grpc.NewClient("unix://"+s.socket,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(
				grpc.MaxCallRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
				grpc.MaxCallSendMsgSize(defaults.DefaultMaxSendMsgSize),
			))
		if err != nil {
			b.close()
			return nil, err
		}
		store := proxy.NewContentStore(conn)
		b.conns = append(b.conns, conn)
		b.clients = append(b.clients, contentapi.NewContentClient(conn))
		b.stores = append(b.stores, store)
		// Connects now.
		if _, err := store.ListStatuses(b.ctx); err != nil {
			b.close()
			return nil, err
		}
	}
	return b, measure.Each(s.streams, s.blobs, func(_, n int) error {
		b.digests[n] = b.payload.digest(s.first + n)
		return nil
	})
}

func (b *bench) close() {
	for _, conn := range b.conns {
		conn.Close()
	}
}

func (b *bench) each(f func(worker, n int) error) error { return measure.Each(b.streams, b.blobs, f) }

func (b *bench) store(worker int) content.Store { return b.stores[worker%len(b.stores)] }

func (b *bench) reset(samples ...*measure.Samples) {
	for _, s := range samples {
		s.Reset(b.streams, b.blobs*int(b.payload.parts()))
	}
}

// ingest uploads all blobs, with the messages that containerd sends to a plugin: one is answered before the next, and what
// is expected is said at the end.
func (b *bench) ingest() error {
	b.reset(&b.open, &b.write, &b.commit)
	buffers := make([][]byte, b.streams)
	for worker := range buffers {
		buffers[worker] = b.payload.buffer()
	}
	return b.each(func(worker, n int) error {
		ctx, cancel := context.WithCancel(b.ctx)
		defer cancel()
		number := b.first + n
		start := time.Now()
		writer, err := b.store(worker).Writer(ctx,
			content.WithRef(fmt.Sprintf("bench/%d/blob-%d", number, number)),
			content.WithDescriptor(ocispec.Descriptor{Size: b.size}))
		if err != nil {
			return err
		}
		start = b.open.Add(worker, start)
		for part := range b.payload.parts() {
			if _, err := writer.Write(b.payload.part(buffers[worker], number, part)); err != nil {
				return err
			}
			start = b.write.Add(worker, start)
		}
		if err := writer.Commit(ctx, b.size, b.digests[n]); err != nil {
			return err
		}
		b.commit.Add(worker, start)
		return nil
	})
}

// read downloads all blobs, each with one call.
func (b *bench) read() error {
	b.reset(&b.call)
	return b.each(func(worker, n int) error {
		start := time.Now()
		stream, err := b.clients[worker%len(b.clients)].Read(b.ctx,
			&contentapi.ReadContentRequest{Digest: b.digests[n].String()})
		if err != nil {
			return err
		}
		var got int64
		for {
			message, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			if got == 0 {
				if err := b.payload.check(message.GetData(), b.first+n, 0); err != nil {
					return err
				}
			}
			got += int64(len(message.GetData()))
		}
		if got != b.size {
			return fmt.Errorf("%d bytes, want %d", got, b.size)
		}
		b.call.Add(worker, start)
		return nil
	})
}

// readAt downloads all blobs as containerd reads from a plugin: with a call for each buffer that it fills.
func (b *bench) readAt() error {
	b.reset(&b.call)
	buffers := make([][]byte, b.streams)
	for worker := range buffers {
		buffers[worker] = b.payload.buffer()
	}
	return b.each(func(worker, n int) error {
		reader, err := b.store(worker).ReaderAt(b.ctx, ocispec.Descriptor{Digest: b.digests[n]})
		if err != nil {
			return err
		}
		defer reader.Close()
		if reader.Size() != b.size {
			return fmt.Errorf("%d bytes, want %d", reader.Size(), b.size)
		}
		buffer, start := buffers[worker], time.Now()
		for part := range b.payload.parts() {
			offset := part * int64(len(buffer))
			wanted := min(int64(len(buffer)), b.size-offset)
			if _, err := reader.ReadAt(buffer[:wanted], offset); err != nil {
				return err
			}
			if err := b.payload.check(buffer[:wanted], b.first+n, part); err != nil {
				return err
			}
			start = b.call.Add(worker, start)
		}
		return nil
	})
}

func (b *bench) remove() error {
	b.reset(&b.call)
	return b.each(func(worker, n int) error {
		start := time.Now()
		err := b.store(worker).Delete(b.ctx, b.digests[n])
		b.call.Add(worker, start)
		return err
	})
}
