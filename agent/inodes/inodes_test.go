package inodes

import (
	"context"
	"testing"
	"time"
)

func TestGuardDecides(t *testing.T) {
	g := guard{limit: 1000, base: 100}
	for _, tc := range []struct {
		now  uint64
		want bool
	}{{0, false}, {100, false}, {599, false}, {600, true}, {5000, true}} {
		if got := g.due(tc.now); got != tc.want {
			t.Errorf("due(%d) = %v", tc.now, got)
		}
	}
	g.dropped(700) // 600 in use
	if g.due(800) || !g.due(900) {
		t.Error("after a drop that left 600, the next is due at 800 beyond the base")
	}
	g.dropped(5000)
	if g.threshold() != 1000 {
		t.Errorf("threshold %d with more in use than the limit", g.threshold())
	}
}

func TestInterval(t *testing.T) {
	g := guard{limit: 1_000_000}
	if got := g.interval(0); got != maxInterval {
		t.Errorf("far away: %v", got)
	}
	if got := g.interval(1_000_000); got != minInterval {
		t.Errorf("at the limit: %v", got)
	}
	g.limit = 20_000
	if got := g.interval(10_000); got != 50*time.Millisecond {
		t.Errorf("10000 left: %v", got)
	}
}

func TestGuardEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Guard(ctx, 1<<60); err != nil {
		t.Fatal(err)
	}
}

func FuzzParseCount(f *testing.F) {
	f.Add("5120\t311\n")
	f.Add("1 2")
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := parseCount(text); err != nil && n != 0 {
			t.Errorf("%d with error %v", n, err)
		}
	})
}
