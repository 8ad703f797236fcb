//go:build privileged

package netns

import "testing"

// BenchmarkAttach is the whole life of a tap.
func BenchmarkAttach(b *testing.B) {
	inner := benchNS(b)
	for b.Loop() {
		tap, err := Attach(inner.path, longest, TapOptions{VnetHdr: true})
		if err != nil {
			b.Fatal(err)
		}
		if err := tap.Detach(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRead reads a namespace with one interface.
func BenchmarkRead(b *testing.B) {
	inner := benchNS(b)
	for b.Loop() {
		if _, err := Read(inner.path); err != nil {
			b.Fatal(err)
		}
	}
}

func benchNS(b *testing.B) *testNS {
	b.Helper()
	inner, _ := newPair(b, longest)
	return inner
}
