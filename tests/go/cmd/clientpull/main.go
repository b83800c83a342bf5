// Command clientpull pulls an image with containerd's Go library, as BuildKit, moby and older nerdctls do: it fetches and
// unpacks at the same time itself, and says by labels which layer it is. No other client here does that with containerd 2.
//
// Its standard output is the library's log, which tells how the image was unpacked.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/log"
	"golang.org/x/sync/semaphore"
)

func main() {
	address := flag.String("address", "", "containerd's socket")
	namespace := flag.String("namespace", "default", "containerd's namespace")
	snapshotter := flag.String("snapshotter", "leasehold", "what to unpack into")
	unpacks := flag.Int64("unpacks", 1, "how many layers to unpack at once")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: clientpull -address SOCKET [flags] IMAGE")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *address == "" || *unpacks < 1 || flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx := namespaces.WithNamespace(context.Background(), *namespace)
	if err := pull(ctx, *address, *snapshotter, *unpacks, flag.Arg(0)); err != nil {
		fmt.Fprintf(os.Stderr, "clientpull: %v\n", err)
		os.Exit(1)
	}
}

func pull(ctx context.Context, address, snapshotter string, unpacks int64, image string) error {
	if err := log.SetLevel("debug"); err != nil {
		return err
	}
	log.L.Logger.SetOutput(os.Stdout)

	client, err := containerd.New(address)
	if err != nil {
		return err
	}
	defer client.Close()

	// A registry of a test is on this machine and speaks plain HTTP.
	hosts := docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchLocalhost))
	opts := []containerd.RemoteOpt{
		containerd.WithResolver(docker.NewResolver(docker.ResolverOptions{Hosts: hosts})),
		containerd.WithPullUnpack,
		containerd.WithPullSnapshotter(snapshotter),
	}
	if unpacks > 1 {
		// To have a limit is what makes the library unpack layers in parallel, even a limit of one.
		limit := containerd.WithUnpackLimiter(semaphore.NewWeighted(unpacks))
		opts = append(opts, containerd.WithUnpackOpts([]containerd.UnpackOpt{limit}))
	}
	_, err = client.Pull(ctx, image, opts...)
	return err
}
