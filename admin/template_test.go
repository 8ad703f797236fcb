package admin

import "testing"

func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"no answer": "no answer", "a\nb": "a; b", "\x1b[31mred\r": "?[31mred?",
	} {
		if got := oneLine(text); got != want {
			t.Errorf("oneLine(%q) = %q, want %q", text, got, want)
		}
	}
}
