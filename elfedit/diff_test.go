package elfedit

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestDiff(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		from := make([]byte, rng.IntN(600))
		for i := range from {
			from[i] = byte(rng.IntN(3))
		}
		to := append([]byte{}, from...)
		for range rng.IntN(6) {
			if len(to) > 0 {
				to[rng.IntN(len(to))] ^= byte(rng.IntN(2))
			}
		}
		switch rng.IntN(4) {
		case 0:
			to = to[:rng.IntN(len(to)+1)]
		case 1:
			to = append(to, make([]byte, rng.IntN(300))...)
		}
		e := Diff(from, to)
		if err := e.Validate(); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		got, err := e.Apply(from)
		if err != nil || !bytes.Equal(got, to) {
			t.Fatalf("%d: applied: %v, equal %v", i, err, bytes.Equal(got, to))
		}
		back, err := e.Invert().Apply(to)
		if err != nil || !bytes.Equal(back, from) {
			t.Fatalf("%d: inverted: %v, equal %v", i, err, bytes.Equal(back, from))
		}
		if e.IsZero() != bytes.Equal(from, to) {
			t.Fatalf("%d: IsZero %v of equal %v", i, e.IsZero(), bytes.Equal(from, to))
		}
	}
}
