package guest

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The fragment of the small kernel says each thing once, in the form that build.sh compares with the final
// configuration. What its options mean only the kernel's own build knows.
func TestFragment(t *testing.T) {
	data, err := os.ReadFile("kernel/runvm.config")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^(CONFIG_[A-Z0-9_]+)=(y|n|[0-9]+|".*")$`)
	seen := map[string]bool{}
	for text := range strings.Lines(string(data)) {
		text = strings.TrimSuffix(text, "\n")
		if text == "" || strings.HasPrefix(text, "# ") {
			continue
		}
		m := line.FindStringSubmatch(text)
		switch {
		case m == nil:
			t.Errorf("not an option with its value: %q", text)
		case seen[m[1]]:
			t.Errorf("%s is there twice", m[1])
		default:
			seen[m[1]] = true
		}
	}
	for _, name := range []string{"CONFIG_PVH", "CONFIG_VIRTIO_FS", "CONFIG_VIRTIO_CONSOLE", "CONFIG_VMGENID", "CONFIG_PROC_EVENTS"} {
		if !seen[name] {
			t.Errorf("%s is missing", name)
		}
	}
}
