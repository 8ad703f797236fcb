package executor

import (
	"encoding/hex"
	"os"
	"os/exec"
	"testing"
)

// Messages of Linux 6.1 about process 0x1234 = 4660, little endian: struct cn_msg, struct proc_event.
func TestIsExec(t *testing.T) {
	const (
		header = "01000000" + "01000000" + "07000000" + "00000000" + "2800" + "0000"
		rest   = "00000000" + "1122334455667788" // CPU and time
	)
	for name, tc := range map[string]struct {
		message string
		want    bool
	}{
		"exec":                    {header + "02000000" + rest + "34120000" + "34120000", true},
		"exit":                    {header + "00000080" + rest + "34120000" + "34120000" + "0000000011000000", true},
		"exit of another thread":  {header + "00000080" + rest + "35120000" + "34120000" + "0000000011000000", false},
		"exec of another process": {header + "02000000" + rest + "35120000" + "35120000", false},
		"fork":                    {header + "01000000" + rest + "34120000" + "34120000" + "3512000035120000", false},
		"acknowledgement":         {header + "00000000" + rest + "00000000", false},
		"short":                   {header + "02000000" + rest + "3412", false},
		"empty":                   {"", false},
	} {
		data, err := hex.DecodeString(tc.message)
		if err != nil {
			t.Fatal(err)
		}
		if got := isExec(data, 0x1234); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestExecuted(t *testing.T) {
	if executed(os.Getpid()) {
		t.Error("this process is this program")
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if !executed(cmd.Process.Pid) {
		t.Error("sleep is another program")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if !executed(cmd.Process.Pid) {
		t.Error("an ended process is none")
	}
}
