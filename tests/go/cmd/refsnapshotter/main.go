// Command refsnapshotter serves containerd's own overlay snapshotter over a unix socket. It is what leasehold is
// measured against, and what shows that a suite or a benchmark works at all.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthapi "google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	root := flag.String("root", "", "directory for the snapshots")
	socket := flag.String("socket", "", "unix socket to serve on")
	syncRemove := flag.Bool("sync-remove", false, "delete directories in Remove instead of in Cleanup")
	flag.Parse()
	if *root == "" || *socket == "" || flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := serve(*root, *socket, *syncRemove); err != nil {
		log.Fatalf("refsnapshotter: %v", err)
	}
}

func serve(root, socket string, syncRemove bool) error {
	// Caught before the socket exists: whoever sees the socket may already send the signal.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	var opts []overlay.Opt
	if !syncRemove {
		// What containerd's overlayfs plugin does unless told otherwise.
		opts = append(opts, overlay.AsynchronousRemove)
	}
	snapshotter, err := overlay.NewSnapshotter(root, opts...)
	if err != nil {
		return fmt.Errorf("open snapshotter at %s: %w", root, err)
	}
	defer snapshotter.Close()

	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}

	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(snapshotter))
	healthapi.RegisterHealthServer(server, health.NewServer())
	go func() {
		<-ctx.Done()
		server.GracefulStop()
	}()
	return server.Serve(listener)
}
