// Command refcontent serves containerd's own content store over a unix socket. It is what leasehold is measured against,
// and what shows that a suite or a benchmark works at all.
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

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/services/content/contentserver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthapi "google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	root := flag.String("root", "", "directory for the blobs")
	socket := flag.String("socket", "", "unix socket to serve on")
	flag.Parse()
	if *root == "" || *socket == "" || flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	// Caught before the socket exists: whoever sees the socket may already send the signal.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := serve(ctx, *root, *socket); err != nil {
		log.Fatalf("refcontent: %v", err)
	}
}

func serve(ctx context.Context, root, socket string) error {
	store, err := local.NewStore(root)
	if err != nil {
		return fmt.Errorf("open content store at %s: %w", root, err)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}

	// containerd serves with these limits, and is otherwise as grpc comes.
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
		grpc.MaxSendMsgSize(defaults.DefaultMaxSendMsgSize),
	)
	contentapi.RegisterContentServer(server, contentserver.New(store))
	healthapi.RegisterHealthServer(server, health.NewServer())
	go func() {
		<-ctx.Done()
		server.GracefulStop()
	}()
	return server.Serve(listener)
}
