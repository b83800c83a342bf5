package snapsuite

import (
	"context"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/containerd/v2/core/content/testsuite"
)

func TestContent(t *testing.T) {
	command, err := commandLine()
	if err != nil {
		t.Fatal(err)
	}
	testsuite.ContentSuite(t, "leasehold", func(ctx context.Context, root string) (
		context.Context, content.Store, func() error, error,
	) {
		s, err := startServer(ctx, command, root, false)
		if err != nil {
			return nil, nil, nil, err
		}
		return ctx, proxy.NewContentStore(contentapi.NewContentClient(s.conn)), s.stop, nil
	})
}
