package measure

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Each calls f for 0..count from so many workers; the first error stops all of them.
func Each(workers, count int, f func(worker, n int) error) error {
	var (
		next   atomic.Int64
		wait   sync.WaitGroup
		failed = make(chan error, workers)
	)
	for worker := range workers {
		wait.Go(func() {
			for n := int(next.Add(1)) - 1; n < count; n = int(next.Add(1)) - 1 {
				if err := f(worker, n); err != nil {
					failed <- fmt.Errorf("item %d: %w", n, err)
					next.Store(int64(count))
					return
				}
			}
		})
	}
	wait.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}
