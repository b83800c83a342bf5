package measure

import (
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

func TestEachCallsForEveryNumberOnce(t *testing.T) {
	const count = 100
	var calls [count]atomic.Int32
	if err := Each(7, count, func(_, n int) error {
		calls[n].Add(1)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for n := range calls {
		if got := calls[n].Load(); got != 1 {
			t.Errorf("%d calls for %d", got, n)
		}
	}
}

func TestEachStopsAtAnError(t *testing.T) {
	broken := errors.New("broken")
	var calls atomic.Int32
	err := Each(2, 1_000_000, func(_, n int) error {
		calls.Add(1)
		return broken
	})
	if !errors.Is(err, broken) || calls.Load() > 2 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}

func TestLatencyIsOfAllWorkers(t *testing.T) {
	var samples Samples
	samples.Reset(2, 100)
	if samples.Merge() != nil {
		t.Error("figures of nothing")
	}
	for n := range 100 {
		samples.byWorker[n%2] = append(samples.byWorker[n%2], time.Duration(n+1)*time.Millisecond)
	}
	if got, want := *samples.Merge(), (Latency{Mean: 50.5, P50: 50, P99: 99, Max: 100}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestFiguresOfAProcess(t *testing.T) {
	own := os.Getpid()
	for name, read := range map[string]func(int) (float64, error){"resident": ServerRSS, "peak": ServerPeak} {
		if got, err := read(own); err != nil || got <= 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if got, err := read(0); err != nil || got != 0 {
			t.Errorf("%s of no process: %v, %v", name, got, err)
		}
	}
	before, err := ServerCPU(own)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		after, err := ServerCPU(own)
		if err != nil {
			t.Fatal(err)
		}
		if after > before {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("being busy costs no processor time")
		}
	}
}
