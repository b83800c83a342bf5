package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"leasehold.dev/tests/internal/measure"
)

const (
	snapshotter = "bench"
	baseName    = "bench/0/base"
	chainLength = 10
	// One connection's reader and writer serve about so many callers before they are what is measured.
	clientsPerConnection = 8
	// Filling up is not measured, so it may use more calls than the run has clients.
	fillClients = 64
)

var content = []byte("one small file of a layer\n")

// bench drives the server; its clients are goroutines that share a few connections.
type bench struct {
	settings
	ctx     context.Context
	conns   []*grpc.ClientConn
	clients []snapshotsapi.SnapshotsClient
	// Made before the clock starts.
	keys, names []string

	prepare, write, commit, stat, remove measure.Samples
}

func connect(ctx context.Context, s settings) (*bench, error) {
	b := &bench{
		settings: s,
		// As containerd sends it with every call of a client.
		ctx: metadata.AppendToOutgoingContext(ctx, "containerd-namespace", "bench"),
	}
	for n := range s.units {
		b.keys = append(b.keys, unitKey(s.first+n))
		b.names = append(b.names, unitName(s.first+n))
	}
	for range (s.clients + clientsPerConnection - 1) / clientsPerConnection {
		conn, err := grpc.NewClient("unix://"+s.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		b.conns = append(b.conns, conn)
		b.clients = append(b.clients, snapshotsapi.NewSnapshotsClient(conn))
		// Connects now; any answer will do.
		if _, err := b.clients[len(b.clients)-1].Stat(b.ctx, &snapshotsapi.StatSnapshotRequest{
			Snapshotter: snapshotter, Key: baseName,
		}); err != nil && status.Code(err) != codes.NotFound {
			return nil, err
		}
	}
	return b, nil
}

func (b *bench) close() {
	for _, conn := range b.conns {
		conn.Close()
	}
}

// makeBase makes the parent of all units, unless an earlier run did.
func (b *bench) makeBase() error {
	err := b.layer(b.clients[0], baseName, "")
	if status.Code(err) == codes.AlreadyExists {
		return nil
	}
	return err
}

// layer prepares and commits without measuring.
func (b *bench) layer(client snapshotsapi.SnapshotsClient, name, parent string) error {
	key := name + "-active"
	if _, err := client.Stat(b.ctx, &snapshotsapi.StatSnapshotRequest{Snapshotter: snapshotter, Key: name}); err == nil {
		return status.Error(codes.AlreadyExists, name)
	}
	if _, err := client.Prepare(b.ctx, &snapshotsapi.PrepareSnapshotRequest{
		Snapshotter: snapshotter, Key: key, Parent: parent,
	}); err != nil {
		return err
	}
	_, err := client.Commit(b.ctx, &snapshotsapi.CommitSnapshotRequest{
		Snapshotter: snapshotter, Name: name, Key: key,
	})
	return err
}

// makePresent makes the chains that stay throughout the run; each has a base layer of its own.
func (b *bench) makePresent() error {
	chains := (b.present + chainLength - 1) / chainLength
	return b.each(fillClients, chains, func(client snapshotsapi.SnapshotsClient, _, chain int) error {
		parent := ""
		for n := chain * chainLength; n < min((chain+1)*chainLength, b.present); n++ {
			name := presentName(n)
			if err := b.layer(client, name, parent); err != nil && status.Code(err) != codes.AlreadyExists {
				return err
			}
			parent = name
		}
		return nil
	})
}

func (b *bench) runUnits() error {
	for _, s := range []*measure.Samples{&b.prepare, &b.write, &b.commit, &b.stat} {
		s.Reset(b.settings.clients, b.units)
	}
	return b.each(b.settings.clients, b.units, b.unit)
}

func (b *bench) unit(client snapshotsapi.SnapshotsClient, worker, n int) error {
	return b.unitOf(client, worker, b.keys[n], b.names[n])
}

func (b *bench) unitOf(client snapshotsapi.SnapshotsClient, worker int, key, name string) error {
	start := time.Now()
	prepared, err := client.Prepare(b.ctx, &snapshotsapi.PrepareSnapshotRequest{
		Snapshotter: snapshotter, Key: key, Parent: baseName,
	})
	if err != nil {
		return err
	}
	start = b.prepare.Add(worker, start)
	upper, err := upperdir(prepared.GetMounts())
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(upper, "file"), content, 0o644); err != nil {
		return err
	}
	start = b.write.Add(worker, start)
	if _, err := client.Commit(b.ctx, &snapshotsapi.CommitSnapshotRequest{
		Snapshotter: snapshotter, Name: name, Key: key,
	}); err != nil {
		return err
	}
	start = b.commit.Add(worker, start)
	if _, err := client.Stat(b.ctx, &snapshotsapi.StatSnapshotRequest{
		Snapshotter: snapshotter, Key: name,
	}); err != nil {
		return err
	}
	b.stat.Add(worker, start)
	return nil
}

func (b *bench) removeUnits() error {
	b.remove.Reset(b.settings.clients, b.units)
	return b.each(b.settings.clients, b.units, func(client snapshotsapi.SnapshotsClient, worker, n int) error {
		return b.removeUnit(client, worker, b.names[n])
	})
}

func (b *bench) removeUnit(client snapshotsapi.SnapshotsClient, worker int, name string) error {
	start := time.Now()
	_, err := client.Remove(b.ctx, &snapshotsapi.RemoveSnapshotRequest{Snapshotter: snapshotter, Key: name})
	b.remove.Add(worker, start)
	return err
}

func (b *bench) cleanup() error {
	_, err := b.clients[0].Cleanup(b.ctx, &snapshotsapi.CleanupRequest{Snapshotter: snapshotter})
	return err
}

// each calls f for 0..count from so many workers; the first error stops all of them.
func (b *bench) each(workers, count int, f func(client snapshotsapi.SnapshotsClient, worker, n int) error) error {
	return measure.Each(workers, count, func(worker, n int) error {
		return f(b.clients[worker%len(b.clients)], worker, n)
	})
}

// upperdir finds where a mounter would write.
func upperdir(mounts []*types.Mount) (string, error) {
	if len(mounts) != 1 {
		return "", fmt.Errorf("want one mount, have %d", len(mounts))
	}
	switch mount := mounts[0]; mount.GetType() {
	case "bind":
		return mount.GetSource(), nil
	case "overlay":
		for _, option := range mount.GetOptions() {
			if dir, ok := strings.CutPrefix(option, "upperdir="); ok {
				return dir, nil
			}
		}
	}
	return "", errors.New("the mount has no upperdir")
}
