package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/metadata/boltutil"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	bolt "go.etcd.io/bbolt"
)

const (
	name      = "leasehold"
	namespace = "bench"
	chain     = 18
	// Chain, container and lease.
	perImage = chain + 2
	// Images made in one transaction: filling up is not measured.
	imagesAtOnce = 100
)

// store is containerd's metadata with the database options of its plugin.
type store struct {
	bolt     *bolt.DB
	metadata *metadata.DB
}

func open(dir string) (*store, error) {
	options := *bolt.DefaultOptions
	options.NoFreelistSync = true
	db, err := bolt.Open(filepath.Join(dir, "meta.db"), 0o644, &options)
	if err != nil {
		return nil, err
	}
	mdb := metadata.NewDB(db, nil, map[string]snapshots.Snapshotter{name: nothing{}})
	if err := mdb.Init(context.Background()); err != nil {
		db.Close()
		return nil, err
	}
	return &store{bolt: db, metadata: mdb}, nil
}

func (s *store) close() { s.bolt.Close() }

func (s *store) fill(ctx context.Context, images int) error {
	ctx = namespaces.WithNamespace(ctx, namespace)
	s.bolt.NoSync = true
	for first := 0; first < images; first += imagesAtOnce {
		err := s.metadata.Update(func(tx *bolt.Tx) error {
			ctx := boltutil.WithTransaction(ctx, tx)
			for number := first; number < min(first+imagesAtOnce, images); number++ {
				if err := s.image(ctx, number); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	s.bolt.NoSync = false
	return s.bolt.Sync()
}

func (s *store) image(ctx context.Context, number int) error {
	snapshotter, manager := s.metadata.Snapshotter(name), metadata.NewLeaseManager(s.metadata)
	lease, err := manager.Create(ctx, leases.WithID(fmt.Sprintf("%d-lease", number)),
		leases.WithLabel("containerd.io/gc.expire", "2100-01-01T00:00:00Z"))
	if err != nil {
		return err
	}
	parent := ""
	for layer := range chain {
		id, active := fmt.Sprintf("sha256:%032x%032x", number, layer), fmt.Sprintf("extract-%d-%d", number, layer)
		labels := snapshots.WithLabels(map[string]string{"containerd.io/snapshot.ref": id})
		if _, err := snapshotter.Prepare(ctx, active, parent, labels); err != nil {
			return err
		}
		if err := snapshotter.Commit(ctx, id, active, labels); err != nil {
			return err
		}
		parent = id
	}
	container := fmt.Sprintf("%064x", number)
	if _, err := snapshotter.Prepare(ctx, container, parent); err != nil {
		return err
	}
	for _, id := range []string{parent, container} {
		if err := manager.AddResource(ctx, lease, leases.Resource{ID: id, Type: "snapshots/" + name}); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes snapshots for as long as it is told to, and returns how long each call took, sorted.
func (s *store) prepare(ctx context.Context, prefix string, more func(done int) bool) ([]time.Duration, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	snapshotter := s.metadata.Snapshotter(name)
	// Held, so that a collection has no more to do than before.
	labels := snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "x"})
	var took []time.Duration
	for more(len(took)) {
		began := time.Now()
		if _, err := snapshotter.Prepare(ctx, fmt.Sprintf("%s-%d", prefix, len(took)), "", labels); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took, nil
}

// nothing is a backend that does nothing. What it embeds stays nil: the rest is not called.
type nothing struct{ snapshots.Snapshotter }

func (nothing) Prepare(context.Context, string, string, ...snapshots.Opt) ([]mount.Mount, error) {
	return nil, nil
}

func (nothing) Commit(context.Context, string, string, ...snapshots.Opt) error { return nil }

func (nothing) Remove(context.Context, string) error { return nil }
