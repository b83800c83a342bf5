package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"

	"leasehold.dev/tests/internal/measure"
)

// unitLatency has the calls of units that are removed at once.
type unitLatency struct {
	Prepare *measure.Latency `json:"prepare"`
	Commit  *measure.Latency `json:"commit"`
	Stat    *measure.Latency `json:"stat"`
	Remove  *measure.Latency `json:"remove"`
}

// runReclaim measures units alone, and then beside the removal and the deletion of many layers.
func (b *bench) runReclaim(r *report) error {
	if err := b.each(fillClients, b.reclaim, b.makeReclaimed); err != nil {
		return err
	}
	ran, alone, err := b.unitsUntil(0, func(ran int) bool { return ran < b.units })
	if err != nil {
		return err
	}
	r.AloneUnits, r.Alone = ran, alone

	var (
		wait       sync.WaitGroup
		done       atomic.Bool
		reclaimErr error
	)
	wait.Go(func() {
		defer done.Store(true)
		r.ReclaimTakes, reclaimErr = timed(b.removeReclaimed)
	})
	ran, beside, err := b.unitsUntil(ran, func(int) bool { return !done.Load() })
	wait.Wait()
	if err != nil {
		return err
	}
	r.BesideUnits, r.Reclaiming = ran, beside
	return reclaimErr
}

// makeReclaimed makes one layer with files, and no directory of more than a hundred.
func (b *bench) makeReclaimed(client snapshotsapi.SnapshotsClient, _, n int) error {
	name := reclaimName(b.first + n)
	prepared, err := client.Prepare(b.ctx, &snapshotsapi.PrepareSnapshotRequest{
		Snapshotter: snapshotter, Key: name + "-active", Parent: baseName,
	})
	if err != nil {
		return err
	}
	upper, err := upperdir(prepared.GetMounts())
	if err != nil {
		return err
	}
	for file := range b.files {
		dir := filepath.Join(upper, fmt.Sprint(file/100))
		if file%100 == 0 {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(file)), content, 0o644); err != nil {
			return err
		}
	}
	_, err = client.Commit(b.ctx, &snapshotsapi.CommitSnapshotRequest{
		Snapshotter: snapshotter, Name: name, Key: name + "-active",
	})
	return err
}

// removeReclaimed removes one layer after the other, and waits for their deletion.
func (b *bench) removeReclaimed() error {
	client := b.clients[0]
	for n := range b.reclaim {
		if _, err := client.Remove(b.ctx, &snapshotsapi.RemoveSnapshotRequest{
			Snapshotter: snapshotter, Key: reclaimName(b.first + n),
		}); err != nil {
			return err
		}
	}
	return b.cleanup()
}

// unitsUntil runs and removes units for as long as goOn says so, given how many there were; first is the number of the
// first one. It returns how many there were.
func (b *bench) unitsUntil(first int, goOn func(ran int) bool) (int, *unitLatency, error) {
	var (
		next   atomic.Int64
		wait   sync.WaitGroup
		failed = make(chan error, b.settings.clients)
	)
	for _, s := range []*measure.Samples{&b.prepare, &b.write, &b.commit, &b.stat, &b.remove} {
		s.Reset(b.settings.clients, b.units)
	}
	for worker := range b.settings.clients {
		client := b.clients[worker%len(b.clients)]
		wait.Go(func() {
			for n := int(next.Add(1)) - 1; goOn(n); n = int(next.Add(1)) - 1 {
				key := b.first + first + n
				if err := b.unitOf(client, worker, unitKey(key), unitName(key)); err != nil {
					failed <- err
					return
				}
				if err := b.removeUnit(client, worker, unitName(key)); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wait.Wait()
	select {
	case err := <-failed:
		return 0, nil, err
	default:
	}
	latencies := &unitLatency{b.prepare.Merge(), b.commit.Merge(), b.stat.Merge(), b.remove.Merge()}
	return int(next.Load()) - b.settings.clients, latencies, nil
}
