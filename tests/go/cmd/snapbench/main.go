// Command snapbench measures a snapshotter on a unix socket and prints the figures as JSON.
//
// A unit is what unpacking one small layer costs the snapshotter: Prepare on a common base, one file written into the
// upperdir, Commit, Stat. Then all the units are removed, and Cleanup deletes what they left.
//
// The phase reclaim makes layers with files first, and runs units that are removed again while nothing else happens, and
// then beside one caller that removes all of the layers and calls Cleanup, as containerd's collector does.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"
	"time"

	"leasehold.dev/tests/internal/measure"
)

// settings of one run.
type settings struct {
	socket  string
	clients int
	units   int
	present int
	first   int
	pid     int
	phases  []string

	reclaim int
	files   int
}

var allPhases = []string{"present", "units", "remove", "cleanup", "reclaim"}

// report is what is printed. Times in milliseconds are of single calls as a client sees them.
type report struct {
	Clients int `json:"clients"`
	Units   int `json:"units"`
	Present int `json:"present"`

	PresentSeconds float64 `json:"present_seconds,omitempty"`
	UnitsSeconds   float64 `json:"units_seconds,omitempty"`
	UnitsPerSecond float64 `json:"units_per_second,omitempty"`

	Prepare *measure.Latency `json:"prepare,omitempty"`
	Write   *measure.Latency `json:"write_file,omitempty"`
	Commit  *measure.Latency `json:"commit,omitempty"`
	Stat    *measure.Latency `json:"stat,omitempty"`

	RemoveSeconds    float64          `json:"remove_seconds,omitempty"`
	RemovesPerSecond float64          `json:"removes_per_second,omitempty"`
	Remove           *measure.Latency `json:"remove,omitempty"`
	CleanupSeconds   float64          `json:"cleanup_seconds,omitempty"`

	Alone        *unitLatency `json:"alone,omitempty"`
	Reclaiming   *unitLatency `json:"reclaiming,omitempty"`
	AloneUnits   int          `json:"alone_units,omitempty"`
	BesideUnits  int          `json:"reclaiming_units,omitempty"`
	ReclaimTakes float64      `json:"reclaim_seconds,omitempty"`

	// The client shares the machine with the server: its part of the processors belongs to the result.
	ClientCPUSeconds float64 `json:"client_cpu_seconds"`
	ServerCPUSeconds float64 `json:"server_cpu_seconds,omitempty"`
	ServerRSSMiB     float64 `json:"server_rss_mib,omitempty"`
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("snapbench: ")
	var s settings
	phases := flag.String("phase", strings.Join(allPhases[:4], ","),
		"phases to run, in this order: any of "+strings.Join(allPhases, ", "))
	flag.StringVar(&s.socket, "socket", "", "unix socket of the snapshotter")
	flag.IntVar(&s.clients, "clients", 8, "calls in flight")
	flag.IntVar(&s.units, "units", 2000, "units to run")
	flag.IntVar(&s.present, "present", 0, "committed snapshots to make first, in chains of ten")
	flag.IntVar(&s.first, "first", 1, "number of the first unit: a server never sees a key twice")
	flag.IntVar(&s.reclaim, "reclaim", 2000, "layers that are removed while units run")
	flag.IntVar(&s.files, "files", 50, "files in each of them")
	flag.IntVar(&s.pid, "pid", 0, "process id of the server, to report its processor time and memory")
	flag.Parse()
	s.phases = strings.Split(*phases, ",")
	for _, phase := range s.phases {
		if !slices.Contains(allPhases, phase) {
			log.Fatalf("unknown phase %q: want %s", phase, strings.Join(allPhases, ", "))
		}
	}
	if s.socket == "" || s.clients < 1 || s.units < 1 || flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}

	r, err := run(context.Background(), s)
	if err != nil {
		log.Fatal(err)
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(r); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, s settings) (*report, error) {
	b, err := connect(ctx, s)
	if err != nil {
		return nil, err
	}
	defer b.close()

	r := &report{Clients: s.clients, Units: s.units, Present: s.present}
	if err := b.makeBase(); err != nil {
		return nil, err
	}
	if slices.Contains(s.phases, "present") && s.present > 0 {
		if r.PresentSeconds, err = timed(b.makePresent); err != nil {
			return nil, err
		}
	}
	cpuBefore := measure.ClientCPU()
	serverBefore, err := measure.ServerCPU(s.pid)
	if err != nil {
		return nil, err
	}
	if slices.Contains(s.phases, "units") {
		if r.UnitsSeconds, err = timed(b.runUnits); err != nil {
			return nil, err
		}
		r.UnitsPerSecond = float64(s.units) / r.UnitsSeconds
		r.Prepare, r.Write, r.Commit, r.Stat = b.prepare.Merge(), b.write.Merge(), b.commit.Merge(), b.stat.Merge()
	}
	if slices.Contains(s.phases, "remove") {
		if r.RemoveSeconds, err = timed(b.removeUnits); err != nil {
			return nil, err
		}
		r.RemovesPerSecond = float64(s.units) / r.RemoveSeconds
		r.Remove = b.remove.Merge()
	}
	if slices.Contains(s.phases, "cleanup") {
		if r.CleanupSeconds, err = timed(b.cleanup); err != nil {
			return nil, err
		}
	}
	if slices.Contains(s.phases, "reclaim") {
		if err := b.runReclaim(r); err != nil {
			return nil, err
		}
	}
	r.ClientCPUSeconds = measure.ClientCPU() - cpuBefore
	serverAfter, err := measure.ServerCPU(s.pid)
	if err != nil {
		return nil, err
	}
	r.ServerCPUSeconds = serverAfter - serverBefore
	r.ServerRSSMiB, err = measure.ServerRSS(s.pid)
	return r, err
}

func timed(f func() error) (float64, error) {
	start := time.Now()
	err := f()
	return time.Since(start).Seconds(), err
}

// unitKey, unitName and presentName have the form that containerd gives its keys: namespace, sequence number, name.
func unitKey(n int) string     { return fmt.Sprintf("bench/%d/key-%d", n, n) }
func unitName(n int) string    { return fmt.Sprintf("bench/%d/name-%d", n, n) }
func presentName(n int) string { return fmt.Sprintf("present/%d/name-%d", n, n) }
func reclaimName(n int) string { return fmt.Sprintf("reclaim/%d/name-%d", n, n) }
