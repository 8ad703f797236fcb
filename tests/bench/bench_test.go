package main

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 2, 9}, 3},
	} {
		if got := median(tc.values); got != tc.want {
			t.Errorf("median(%v) = %v, want %v", tc.values, got, tc.want)
		}
	}
}

func TestParsePSS(t *testing.T) {
	for name, tc := range map[string]struct {
		rollup string
		want   int64
		ok     bool
	}{
		"a process": {"5600 [rollup]\nRss:    884 kB\nPss:       385 kB\nPss_Dirty:  68 kB\n", 385 << 10, true},
		"no line":   {"Rss: 1 kB\nPss_Anon: 3 kB\n", 0, false},
		"no number": {"Pss: many kB\n", 0, false},
		"empty":     {"", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parsePSS([]byte(tc.rollup))
			if got != tc.want || (err == nil) != tc.ok {
				t.Errorf("got %d, %v", got, err)
			}
		})
	}
	own, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parsePSS(own); err != nil || got < 1<<20 {
		t.Errorf("this process has %d bytes, %v", got, err)
	}
}

func TestTable(t *testing.T) {
	s := samples{}
	for _, row := range rows[:len(rows)-1] {
		s.add(row, "runvm", 1200*time.Millisecond)
		s.add(row, "runc", 20*time.Millisecond)
	}
	s.put(memory, "runvm", 68)
	s.put(memory, "runc", 2)
	engines := []*engine{{name: "runvm", version: "v1", path: "/a"}, {name: "runc", version: "v2", path: "/b"}}
	r := report{Runs: 1, Engines: engines, LeftOut: map[string]string{"crun": "not found"}, Samples: s}
	want := `median of 1, interleaved
                       runvm          runc    runvm/runc
run true          1200.0  ms      20.0  ms         60.0x
create            1200.0  ms      20.0  ms         60.0x
start             1200.0  ms      20.0  ms         60.0x
state             1200.0  ms      20.0  ms         60.0x
exec true         1200.0  ms      20.0  ms         60.0x
kill              1200.0  ms      20.0  ms         60.0x
delete            1200.0  ms      20.0  ms         60.0x
memory (PSS)        68.0 MiB       2.0 MiB         34.0x
runvm: v1 (/a)
runc: v2 (/b)
crun was left out: not found
`
	if diff := cmp.Diff(want, r.table()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestTableWithoutRunc has nothing to compare with.
func TestTableWithoutRunc(t *testing.T) {
	r := report{Runs: 1, Engines: []*engine{{name: "runvm", version: "v1", path: "/a"}}, Samples: samples{}}
	want := "median of 1, interleaved\n                       runvm\n"
	if got := r.table(); got[:len(want)] != want {
		t.Errorf("got %q", got)
	}
}
