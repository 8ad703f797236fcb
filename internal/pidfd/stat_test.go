package pidfd

import (
	"errors"
	"testing"
)

const tail = " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 99 0\n"

func TestParseStat(t *testing.T) {
	for _, line := range []string{
		"7 (sh) S" + tail,
		"7 (a b) S" + tail,
		"7 (a) R 1 (b)) S" + tail,
		"7 (\n) S" + tail,
		"7 () S" + tail,
	} {
		got, err := parseStat(line)
		if err != nil {
			t.Errorf("parseStat(%q): %v", line, err)
		}
		if want := (stat{state: 'S', parent: 1, startTime: 4242}); got != want {
			t.Errorf("parseStat(%q) = %+v, want %+v", line, got, want)
		}
	}
	for _, line := range []string{
		"", "7", "7 (sh)", "7 (sh) S", "7 (sh) SS" + tail, "7 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 -1",
	} {
		if _, err := parseStat(line); !errors.Is(err, errStat) {
			t.Errorf("parseStat(%q) = %v, want errStat", line, err)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("7 (sh) S" + tail)
	f.Add("7 (a) R 1 (b)) Z" + tail)
	f.Add(")")
	f.Fuzz(func(t *testing.T, line string) {
		s, err := parseStat(line)
		if err != nil && s != (stat{}) {
			t.Errorf("parseStat(%q) = %+v with error %v", line, s, err)
		}
	})
}
