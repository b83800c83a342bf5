// Command refcollect measures containerd's own collector, and prints the figures as JSON: what leasehold's is compared to.
//
// Its objects are those of leasehold's benchmark: for each image a chain of snapshots, a container's snapshot, and a lease
// that names both ends. A resource is a lease or a snapshot; all are held. The backend snapshotter does nothing, so what
// is measured is containerd's metadata alone.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"os"
	"slices"
	"sync/atomic"
	"time"
)

// report is what is printed; times of single calls are in microseconds.
type report struct {
	Resources    int     `json:"resources"`
	NanosEach    float64 `json:"nanos_each"`
	IdleP50      float64 `json:"idle_p50"`
	IdleP99      float64 `json:"idle_p99"`
	CollectedP50 float64 `json:"collecting_p50"`
	CollectedP99 float64 `json:"collecting_p99"`
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("refcollect: ")
	resources := flag.Int("resources", 10000, "leases and snapshots to make")
	rounds := flag.Int("rounds", 5, "collections, of which the median counts")
	calls := flag.Int("calls", 2000, "calls of a writer, timed while nothing is collected, and as many while it is")
	longest := flag.Duration("longest", 10*time.Second, "the longest time for the latter")
	flag.Parse()
	if *resources < perImage || *rounds < 1 || *calls < 1 || flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	measured, err := measure(context.Background(), *resources, *rounds, *calls, *longest)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(measured); err != nil {
		log.Fatal(err)
	}
}

func measure(ctx context.Context, resources, rounds, calls int, longest time.Duration) (*report, error) {
	dir, err := os.MkdirTemp("", "refcollect")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s, err := open(dir)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := s.fill(ctx, resources/perImage); err != nil {
		return nil, err
	}

	collect := func() error {
		_, err := s.metadata.GarbageCollect(ctx)
		return err
	}
	var took []time.Duration
	// Round 0 warms up.
	for round := range rounds + 1 {
		began := time.Now()
		if err := collect(); err != nil {
			return nil, err
		}
		if round > 0 {
			took = append(took, time.Since(began))
		}
	}
	slices.Sort(took)

	idle, err := s.prepare(ctx, "idle", func(done int) bool { return done < calls })
	if err != nil {
		return nil, err
	}
	var stop atomic.Bool
	ended := make(chan error, 1)
	go func() {
		for !stop.Load() {
			if err := collect(); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	// Every call may wait for a whole collection.
	until := time.Now().Add(longest)
	busy, err := s.prepare(ctx, "busy", func(done int) bool { return done < calls && (done < 3 || time.Now().Before(until)) })
	stop.Store(true)
	if collectErr := <-ended; err == nil {
		err = collectErr
	}
	if err != nil {
		return nil, err
	}
	return &report{
		Resources:    resources,
		NanosEach:    float64(took[len(took)/2].Nanoseconds()) / float64(resources),
		IdleP50:      percentile(idle, 50),
		IdleP99:      percentile(idle, 99),
		CollectedP50: percentile(busy, 50),
		CollectedP99: percentile(busy, 99),
	}, nil
}

// percentile of sorted times, in microseconds.
func percentile(sorted []time.Duration, percent int) float64 {
	return float64(sorted[(len(sorted)-1)*percent/100].Nanoseconds()) / 1e3
}
