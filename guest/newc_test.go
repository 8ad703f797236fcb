package guest

import (
	"bytes"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestWriteCPIO(t *testing.T) {
	var b bytes.Buffer
	err := writeCPIO(&b, []entry{
		{name: "init", mode: modeFile | 0o755, data: []byte("12345")},
		{name: "dev/console", mode: modeChar | 0o600, major: 5, minor: 1},
		{name: "dev", mode: modeDir | 0o755},
		{name: "empty", mode: modeFile | 0o644},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := readCPIO(t, b.Bytes())
	want := []entry{
		{name: "dev", mode: modeDir | 0o755},
		{name: "dev/console", mode: modeChar | 0o600, major: 5, minor: 1},
		{name: "empty", mode: modeFile | 0o644},
		{name: "init", mode: modeFile | 0o755, data: []byte("12345")},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(entry{}), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

// readCPIO is the reverse of writeCPIO, and checks that inodes are counted and that owner and time are zero.
func readCPIO(t *testing.T, data []byte) (entries []entry) {
	t.Helper()
	for pos := 0; ; {
		var f [13]uint32
		if string(data[pos:pos+6]) != "070701" {
			t.Fatalf("no header at %d", pos)
		}
		for i := range f {
			v, err := strconv.ParseUint(string(data[pos+6+8*i:][:8]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			f[i] = uint32(v)
		}
		nameEnd := pos + 110 + int(f[11])
		e := entry{name: string(data[pos+110 : nameEnd-1]), mode: f[1], major: f[9], minor: f[10]}
		start := (nameEnd + 3) &^ 3
		end := start + int(f[6])
		e.data = data[start:end]
		pos = (end + 3) &^ 3
		if e.name == "TRAILER!!!" {
			if pos != len(data) {
				t.Errorf("%d bytes after the trailer", len(data)-pos)
			}
			return entries
		}
		entries = append(entries, e)
		if int(f[0]) != len(entries) || f[2] != 0 || f[3] != 0 || f[5] != 0 {
			t.Errorf("%s: inode %d, owner %d:%d, time %d", e.name, f[0], f[2], f[3], f[5])
		}
	}
}

func TestWriteCPIOBytes(t *testing.T) {
	var b bytes.Buffer
	if err := writeCPIO(&b, []entry{{name: "c", mode: modeChar | 0o600, major: 5, minor: 1}}); err != nil {
		t.Fatal(err)
	}
	const want = "070701" + "00000001" + "00002180" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000005" + "00000001" + "00000002" + "00000000" + "c\x00" +
		"070701" + "00000000" + "00000000" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "0000000b" + "00000000" + "TRAILER!!!\x00\x00\x00\x00"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}
