// Package measure times calls, and reads what they cost the processes on both sides of a socket.
package measure

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Samples are the durations of one kind of call. Each worker has a slice of its own, so that none waits for another.
type Samples struct {
	byWorker [][]time.Duration
}

// Reset forgets all, and makes room for what so many workers measure.
func (s *Samples) Reset(workers, count int) {
	s.byWorker = make([][]time.Duration, workers)
	for worker := range s.byWorker {
		s.byWorker[worker] = make([]time.Duration, 0, 2*count/workers+1)
	}
}

// Add records the time since start and returns the time at which it ended.
func (s *Samples) Add(worker int, start time.Time) time.Time {
	now := time.Now()
	s.byWorker[worker] = append(s.byWorker[worker], now.Sub(start))
	return now
}

// Latency is what a call took, as the client saw it.
type Latency struct {
	Mean float64 `json:"mean_ms"`
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	Max  float64 `json:"max_ms"`
}

// Merge sums up what all workers measured; nil when that is nothing.
func (s *Samples) Merge() *Latency {
	all := slices.Concat(s.byWorker...)
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	var sum time.Duration
	for _, d := range all {
		sum += d
	}
	at := func(q float64) float64 { return milliseconds(all[int(q*float64(len(all)-1))]) }
	return &Latency{
		Mean: milliseconds(sum / time.Duration(len(all))),
		P50:  at(0.50),
		P99:  at(0.99),
		Max:  at(1),
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// ClientCPU returns the user and system time of this process in seconds.
func ClientCPU() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

// ServerCPU reads user and system time from /proc; it is 0 without a pid.
func ServerCPU(pid int) (float64, error) {
	if pid == 0 {
		return 0, nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in parentheses, and may itself hold spaces and parentheses.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const utime, stime = 11, 12
	if len(fields) <= stime {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var ticks float64
	for _, field := range []int{utime, stime} {
		n, err := strconv.ParseFloat(string(fields[field]), 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	// USER_HZ is 100 wherever Linux runs Go.
	return ticks / 100, nil
}

// ServerRSS returns the resident set in MiB; it is 0 without a pid.
func ServerRSS(pid int) (float64, error) { return memory(pid, "VmRSS:") }

// ServerPeak returns the largest resident set in MiB since ResetPeak; it is 0 without a pid.
func ServerPeak(pid int) (float64, error) { return memory(pid, "VmHWM:") }

// ResetPeak lets the largest resident set begin at the present one. Without a pid it does nothing.
func ResetPeak(pid int) error {
	if pid == 0 {
		return nil
	}
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

func memory(pid int, name string) (float64, error) {
	if pid == 0 {
		return 0, nil
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name); ok {
			kib, err := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", pid, name)
}
