// Package snapsuite runs containerd's own suites for snapshotters and content stores against a server on a unix socket.
//
// Each case gets a server with a root and a socket of its own: LEASEHOLD_BIN names the daemon, or SNAPSUITE_COMMAND is
// a whole command line in which {root}, {socket} and {config} are replaced. The suite of snapshotters mounts, so it must
// run as root:
//
//	LEASEHOLD_BIN=target/release/leasehold snapsuite.test -test.root -test.v -test.run Snapshotter
//	LEASEHOLD_BIN=target/release/leasehold snapsuite.test -test.v -test.run Content
//
// SNAPSUITE_API=1 has the suite be a client of the daemon's API socket, in a namespace, instead of containerd.
package snapsuite

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"
)

const (
	// The suite decides by this name what a snapshotter cannot do: an overlay cannot rename a lower directory.
	overlayName = "overlayfs"
	// What the snapshotter is called on the API socket.
	apiName = "leasehold"
)

func TestSnapshotter(t *testing.T) {
	// Failing rather than skipping: a run that tested nothing must not look like one that passed.
	if os.Geteuid() != 0 {
		t.Fatal("the suite mounts: run it as root")
	}
	command, err := commandLine()
	if err != nil {
		t.Fatal(err)
	}
	// The suite sends a namespace in any case, which the plugin socket does not look at.
	onAPISocket, name := os.Getenv("SNAPSUITE_API") != "", overlayName
	if onAPISocket {
		name = apiName
	}
	testsuite.SnapshotterSuite(t, overlayName, func(ctx context.Context, root string) (
		snapshots.Snapshotter, func() error, error,
	) {
		s, err := startServer(ctx, command, root, "", onAPISocket)
		if err != nil {
			return nil, nil, err
		}
		return proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(s.conn), name), s.stop, nil
	})
}

func commandLine() ([]string, error) {
	if command := strings.Fields(os.Getenv("SNAPSUITE_COMMAND")); len(command) > 0 {
		return command, nil
	}
	if daemon := os.Getenv("LEASEHOLD_BIN"); daemon != "" {
		path, err := filepath.Abs(daemon)
		return []string{path, "serve", "--config", "{config}"}, err
	}
	return nil, errors.New("set LEASEHOLD_BIN or SNAPSUITE_COMMAND: there is no server to test")
}
