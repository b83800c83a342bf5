package snapsuite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/containerd/v2/core/content/testsuite"
	"github.com/containerd/containerd/v2/core/leases"
	leasesproxy "github.com/containerd/containerd/v2/core/leases/proxy"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"
)

func TestContent(t *testing.T) {
	testsuite.ContentSuite(t, "leasehold", contentStore(t, os.Getenv("SNAPSUITE_API") != "", ""))
}

// Namespaces are on the API socket alone.

func TestContentShared(t *testing.T) {
	testsuite.ContentCrossNSSharedSuite(t, "leasehold", contentStore(t, true, ""))
}

func TestContentIsolated(t *testing.T) {
	store := contentStore(t, true, "[content]\nsharing_policy = \"isolated\"\n")
	testsuite.ContentCrossNSIsolatedSuite(t, "leasehold", store)
	testsuite.ContentSharedNSIsolatedSuite(t, "leasehold", store)
}

func contentStore(t *testing.T, onAPISocket bool, settings string) testsuite.StoreInitFn {
	command, err := commandLine()
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context, root string) (context.Context, content.Store, func() error, error) {
		s, err := startServer(ctx, command, root, settings, onAPISocket)
		if err != nil {
			return nil, nil, nil, err
		}
		if onAPISocket {
			ctx = testsuite.SetContextWrapper(ctx, inNamespaces(s.conn))
		}
		return ctx, proxy.NewContentStore(contentapi.NewContentClient(s.conn)), s.stop, nil
	}
}

// inNamespaces has each user of a store be in a namespace and work for a lease of its own.
func inNamespaces(conn *grpc.ClientConn) testsuite.ContextWrapper {
	var count atomic.Uint64
	manager := leasesproxy.NewLeaseManager(leasesapi.NewLeasesClient(conn))
	return func(ctx context.Context, shared bool) (context.Context, func(context.Context) error, error) {
		name := fmt.Sprintf("content-%d", count.Add(1))
		ctx = namespaces.WithNamespace(ctx, name)
		if shared {
			namespace := &namespacesapi.Namespace{
				Name:   name,
				Labels: map[string]string{labels.LabelSharedNamespace: "true"},
			}
			client := namespacesapi.NewNamespacesClient(conn)
			if _, err := client.Create(ctx, &namespacesapi.CreateNamespaceRequest{Namespace: namespace}); err != nil {
				return nil, nil, err
			}
		}
		lease, err := manager.Create(ctx, leases.WithRandomID())
		if err != nil {
			return nil, nil, err
		}
		done := func(ctx context.Context) error {
			resources, err := manager.ListResources(ctx, lease)
			for _, resource := range resources {
				if resource.Type != "content" && resource.Type != "ingests" {
					err = errors.Join(err, fmt.Errorf("the lease names %v", resource))
				}
			}
			return errors.Join(err, manager.Delete(ctx, lease))
		}
		return leases.WithLease(ctx, lease.ID), done, nil
	}
}
