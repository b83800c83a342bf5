package snapsuite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthapi "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 30 * time.Second
)

// server is a running snapshotter and a connection to it.
type server struct {
	conn   *grpc.ClientConn
	cmd    *exec.Cmd
	exited chan error
	// dir holds what is not the server's data: sockets, configuration, log.
	dir string
}

func startServer(ctx context.Context, command []string, root, settings string, onAPISocket bool) (*server, error) {
	// Not below root: the path of a unix socket has at most 107 bytes.
	dir, err := os.MkdirTemp("/tmp", "snapsuite-")
	if err != nil {
		return nil, err
	}
	socket, api, config := filepath.Join(dir, "s"), filepath.Join(dir, "a"), filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("root = %q\n\n[plugin]\nsocket = %q\n\n[api]\nsocket = %q\n%s", root, socket, api, settings)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()

	replace := strings.NewReplacer("{root}", root, "{socket}", socket, "{config}", config)
	args := make([]string, len(command))
	for i, arg := range command {
		args[i] = replace.Replace(arg)
	}
	s := &server{cmd: exec.Command(args[0], args[1:]...), exited: make(chan error, 1), dir: dir}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.run(); err != nil {
		return nil, err
	}

	if onAPISocket {
		socket = api
	}
	s.conn, err = grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err == nil {
		err = s.waitReady(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// run starts the program so that a suite that dies takes its servers with it.
func (s *server) run() error {
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The signal is sent when the thread that started the program ends, and mounting ends threads: this one is kept.
		runtime.LockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.exited <- s.cmd.Wait()
		}
	}()
	return <-started
}

func (s *server) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client := healthapi.NewHealthClient(s.conn)
	for {
		answer, err := client.Check(ctx, &healthapi.HealthCheckRequest{})
		if status.Code(err) == codes.Unimplemented || answer.GetStatus() == healthapi.HealthCheckResponse_SERVING {
			return nil
		}
		select {
		case err := <-s.exited:
			s.exited <- err
			return fmt.Errorf("the server ended before it was ready: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("the server was not ready after %v: %w", startTimeout, err)
		case <-time.After(10 * time.Millisecond):
			// gRPC's own back-off starts at a second.
			s.conn.ResetConnectBackoff()
		}
	}
}

// stop ends the server, and fails with its log if it does not end well.
func (s *server) stop() error {
	defer os.RemoveAll(s.dir)
	if s.conn != nil {
		s.conn.Close()
	}
	// An error here means that it has ended already, which exited tells better.
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	var err error
	select {
	case err = <-s.exited:
	case <-time.After(stopTimeout):
		_ = s.cmd.Process.Kill()
		err = fmt.Errorf("still running %v after SIGTERM", stopTimeout)
		<-s.exited
	}
	if err == nil {
		return nil
	}
	log, readErr := os.ReadFile(filepath.Join(s.dir, "log"))
	return errors.Join(fmt.Errorf("%s: %w\n%s", s.cmd.Path, err, bytes.TrimSpace(log)), readErr)
}
