package main

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/services/content/contentserver"
	"google.golang.org/grpc"
)

// serve runs containerd's content store, and returns its socket and its directory.
func serve(t *testing.T) (socket, root string) {
	t.Helper()
	dir := t.TempDir()
	socket, root = filepath.Join(dir, "s"), filepath.Join(dir, "root")
	store, err := local.NewStore(root)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(defaults.DefaultMaxRecvMsgSize))
	contentapi.RegisterContentServer(server, contentserver.New(store))
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return socket, root
}

func blobs(t *testing.T, root string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "blobs", "sha256", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestEveryPhaseHasFigures(t *testing.T) {
	for _, test := range []settings{
		{connections: 1, streams: 1, blobs: 3, size: header, part: 1 << 20},
		{connections: 1, streams: 4, blobs: 20, size: 4096, part: 1 << 20},
		{connections: 2, streams: 3, blobs: 4, size: 1<<20 + 100, part: 1 << 18},
	} {
		socket, root := serve(t)
		test.socket, test.first, test.pid = socket, 7, os.Getpid()
		test.phases = []string{"ingest", "read", "readat"}
		r, err := run(t.Context(), test)
		if err != nil {
			t.Fatal(err)
		}
		found := blobs(t, root)
		if len(found) != test.blobs {
			t.Fatalf("%d blobs, want %d", len(found), test.blobs)
		}
		for _, blob := range found {
			if info, err := os.Stat(blob); err != nil || info.Size() != test.size {
				t.Errorf("%s: %v %v", blob, info, err)
			}
		}
		if r.Remove != nil || r.Ingest.Call != nil || r.Read.Commit != nil {
			t.Error("figures of what was not done")
		}
		for name, latency := range map[string]any{
			"open": r.Ingest.Open, "write": r.Ingest.Write, "commit": r.Ingest.Commit,
			"read": r.Read.Call, "readat": r.ReadAt.Call,
		} {
			if latency == nil {
				t.Errorf("no latency of %s", name)
			}
		}
		for name, f := range map[string]*figures{"ingest": r.Ingest, "read": r.Read, "readat": r.ReadAt} {
			mib := float64(test.size) * float64(test.blobs) / (1 << 20)
			if got := f.MiBPerSecond * f.Seconds; got < 0.99*mib || got > 1.01*mib || f.ServerPeakMiB <= 0 {
				t.Errorf("%s: %+v", name, f)
			}
		}

		test.phases = []string{"remove"}
		if _, err := run(t.Context(), test); err != nil {
			t.Fatal(err)
		}
		if found := blobs(t, root); len(found) != 0 {
			t.Errorf("left behind: %v", found)
		}
	}
}

func TestAServerThatFailsEndsTheRun(t *testing.T) {
	socket, root := serve(t)
	s := settings{socket: socket, connections: 1, streams: 2, blobs: 4, size: 4096, part: 4096, first: 1}
	for _, phase := range []string{"read", "readat"} {
		s.phases = []string{phase}
		if _, err := run(t.Context(), s); err == nil || !strings.Contains(err.Error(), "not found") {
			t.Errorf("%s of nothing: %v", phase, err)
		}
	}
	s.phases = []string{"ingest"}
	if _, err := run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t.Context(), s); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("the same blobs again: %v", err)
	}
	for _, blob := range blobs(t, root) {
		if err := os.Chmod(blob, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(blob, make([]byte, 4096), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, phase := range []string{"read", "readat"} {
		s.phases = []string{phase}
		if _, err := run(t.Context(), s); err == nil || !strings.Contains(err.Error(), "want part 0") {
			t.Errorf("%s of something else: %v", phase, err)
		}
	}
}

func TestSettingsAreChecked(t *testing.T) {
	good := settings{
		socket: "s", connections: 1, streams: 1, blobs: 1, size: 1 << 20, part: 1 << 20, phases: slices.Clone(allPhases),
	}
	if err := good.validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*settings){
		"phase":  func(s *settings) { s.phases = []string{"fly"} },
		"socket": func(s *settings) { s.socket = "" },
		"blobs":  func(s *settings) { s.blobs = 0 },
		"size":   func(s *settings) { s.size = header - 1 },
		"part":   func(s *settings) { s.part = header - 1 },
		"last":   func(s *settings) { s.size += header - 1 },
	} {
		bad := good
		change(&bad)
		if bad.validate() == nil {
			t.Errorf("a bad %s is taken", name)
		}
	}
}

func TestBlobsDiffer(t *testing.T) {
	p := newPayload(10_000, 4096)
	if p.parts() != 3 {
		t.Errorf("%d parts", p.parts())
	}
	if p.digest(1) != p.digest(1) || p.digest(1) == p.digest(2) {
		t.Error("a blob is known by its number")
	}
	buffer := p.buffer()
	if got := len(p.part(buffer, 1, 2)); got != 10_000-2*4096 {
		t.Errorf("the last part has %d bytes", got)
	}
}
