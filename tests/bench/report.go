package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// memory is the name of the one row that is not a duration.
const memory = "memory (PSS)"

// rows are the measurements in the order in which they are printed.
var rows = []string{"run true", "create", "start", "state", "exec true", "kill", "delete", memory}

// samples are measurements by row and engine: milliseconds, or MiB of memory.
type samples map[string]map[string][]float64

func (s samples) put(row, engine string, value float64) {
	if s[row] == nil {
		s[row] = map[string][]float64{}
	}
	s[row][engine] = append(s[row][engine], value)
}

func (s samples) add(row, engine string, took time.Duration) {
	s.put(row, engine, float64(took.Microseconds())/1000)
}

// addMemory measures what the processes of a cgroup use.
func (s samples) addMemory(engine, cgroup string) error {
	bytes, err := pssOf(cgroup)
	if err != nil {
		return fmt.Errorf("measure memory: %w", err)
	}
	s.put(memory, engine, float64(bytes)/(1<<20))
	return nil
}

// median returns the middle value, or the mean of the middle two; 0 without any.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// report is everything that a run found out.
type report struct {
	Runs    int               `json:"runs"`
	Engines []*engine         `json:"engines"`
	LeftOut map[string]string `json:"left_out,omitempty"`
	Samples samples           `json:"samples"` // milliseconds, or MiB
}

// MarshalJSON names the engine and its version.
func (e *engine) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{"name": e.name, "version": e.version, "path": e.path})
}

// table is the report for people: medians, and ratios against runc if it was measured.
func (r report) table() string {
	var b strings.Builder
	var others []string // compared with runc
	fmt.Fprintf(&b, "median of %d, interleaved\n%-14s", r.Runs, "")
	for _, e := range r.Engines {
		fmt.Fprintf(&b, "%14s", e.name)
		if e.name != "runc" {
			others = append(others, e.name)
		}
	}
	if len(others) == len(r.Engines) {
		others = nil
	}
	for _, name := range others {
		fmt.Fprintf(&b, "%14s", name+"/runc")
	}
	b.WriteString("\n")
	for _, row := range rows {
		unit := "ms"
		if row == memory {
			unit = "MiB"
		}
		fmt.Fprintf(&b, "%-14s", row)
		for _, e := range r.Engines {
			fmt.Fprintf(&b, "%10.1f %3s", median(r.Samples[row][e.name]), unit)
		}
		for _, name := range others {
			fmt.Fprintf(&b, "%13.1fx", median(r.Samples[row][name])/median(r.Samples[row]["runc"]))
		}
		b.WriteString("\n")
	}
	for _, e := range r.Engines {
		fmt.Fprintf(&b, "%s: %s (%s)\n", e.name, e.version, e.path)
	}
	for _, name := range slices.Sorted(maps.Keys(r.LeftOut)) {
		fmt.Fprintf(&b, "%s was left out: %s\n", name, r.LeftOut[name])
	}
	return b.String()
}
