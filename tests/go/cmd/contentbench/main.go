// Command contentbench measures a content store on a unix socket and prints the figures as JSON.
//
// It uploads blobs as containerd does, reads them with one call each, then in parts as containerd reads from a plugin, and
// deletes them. Blobs are read soon after they were written, so that they come from memory.
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
	socket      string
	connections int
	streams     int
	blobs       int
	size        int64
	part        int
	first       int
	pid         int
	phases      []string
}

var allPhases = []string{"ingest", "read", "readat", "remove"}

// report is what is printed.
type report struct {
	Streams int   `json:"streams"`
	Blobs   int   `json:"blobs"`
	Size    int64 `json:"size"`

	Ingest *figures `json:"ingest,omitempty"`
	Read   *figures `json:"read,omitempty"`
	ReadAt *figures `json:"readat,omitempty"`
	Remove *figures `json:"remove,omitempty"`
}

// figures of one phase. Latencies are of single calls as a client sees them.
type figures struct {
	Seconds        float64 `json:"seconds"`
	BlobsPerSecond float64 `json:"blobs_per_second"`
	MiBPerSecond   float64 `json:"mib_per_second"`

	Open   *measure.Latency `json:"open,omitempty"`
	Write  *measure.Latency `json:"write,omitempty"`
	Commit *measure.Latency `json:"commit,omitempty"`
	Call   *measure.Latency `json:"call,omitempty"`

	// The client shares the machine with the server: its part of the processors belongs to the result.
	ClientCPUSeconds float64 `json:"client_cpu_seconds"`
	ServerCPUSeconds float64 `json:"server_cpu_seconds,omitempty"`
	ServerPeakMiB    float64 `json:"server_peak_mib,omitempty"`
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("contentbench: ")
	var s settings
	phases := flag.String("phase", strings.Join(allPhases, ","), "phases to run, in this order")
	flag.StringVar(&s.socket, "socket", "", "unix socket of the content store")
	flag.IntVar(&s.connections, "connections", 1, "connections that the streams share; containerd has one")
	flag.IntVar(&s.streams, "streams", 4, "blobs under way at a time")
	flag.IntVar(&s.blobs, "blobs", 64, "blobs")
	flag.Int64Var(&s.size, "size", 1<<20, "bytes of a blob")
	flag.IntVar(&s.part, "part", 1<<20, "bytes of a message of an upload, and of a read in parts")
	flag.IntVar(&s.first, "first", 1, "number of the first blob: a server never sees one twice")
	flag.IntVar(&s.pid, "pid", 0, "process id of the server, to report its processor time and memory")
	flag.Parse()
	s.phases = strings.Split(*phases, ",")
	if err := s.validate(); err != nil || flag.NArg() != 0 {
		log.Print(err)
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

func (s settings) validate() error {
	for _, phase := range s.phases {
		if !slices.Contains(allPhases, phase) {
			return fmt.Errorf("unknown phase %q: want %s", phase, strings.Join(allPhases, ", "))
		}
	}
	switch {
	case s.socket == "":
		return fmt.Errorf("which socket is not said")
	case s.connections < 1 || s.streams < 1 || s.blobs < 1:
		return fmt.Errorf("at least one connection, stream and blob is needed")
	case s.part < header || s.size < header || s.size%int64(s.part) != 0 && s.size%int64(s.part) < header:
		return fmt.Errorf("a blob and each part of it has at least %d bytes", header)
	}
	return nil
}

func run(ctx context.Context, s settings) (*report, error) {
	b, err := connect(ctx, s)
	if err != nil {
		return nil, err
	}
	defer b.close()
	r := &report{Streams: s.streams, Blobs: s.blobs, Size: s.size}
	for _, phase := range s.phases {
		var f *figures
		switch phase {
		case "ingest":
			f, err = b.measured(b.ingest)
			r.Ingest = f
		case "read":
			f, err = b.measured(b.read)
			r.Read = f
		case "readat":
			f, err = b.measured(b.readAt)
			r.ReadAt = f
		case "remove":
			f, err = b.measured(b.remove)
			r.Remove = f
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", phase, err)
		}
	}
	return r, nil
}

// measured runs a phase. What it timed is forgotten afterwards.
func (b *bench) measured(phase func() error) (*figures, error) {
	if err := measure.ResetPeak(b.pid); err != nil {
		return nil, err
	}
	clientBefore := measure.ClientCPU()
	serverBefore, err := measure.ServerCPU(b.pid)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := phase(); err != nil {
		return nil, err
	}
	f := &figures{Seconds: time.Since(start).Seconds()}
	f.BlobsPerSecond = float64(b.blobs) / f.Seconds
	f.MiBPerSecond = float64(b.blobs) * float64(b.size) / (1 << 20) / f.Seconds
	f.ClientCPUSeconds = measure.ClientCPU() - clientBefore
	serverAfter, err := measure.ServerCPU(b.pid)
	if err != nil {
		return nil, err
	}
	f.ServerCPUSeconds = serverAfter - serverBefore
	if f.ServerPeakMiB, err = measure.ServerPeak(b.pid); err != nil {
		return nil, err
	}
	f.Open, f.Write, f.Commit, f.Call = b.open.Merge(), b.write.Merge(), b.commit.Merge(), b.call.Merge()
	for _, s := range []*measure.Samples{&b.open, &b.write, &b.commit, &b.call} {
		s.Reset(b.streams, 0)
	}
	return f, nil
}
