package elfcmd

import (
	"testing"

	"github.com/hashpkg/hashpkg/digest"
)

// TestChecksum compares with the implementation that the store uses.
func TestChecksum(t *testing.T) {
	b := make([]byte, 300<<10)
	for i := range b {
		b[i] = byte(i * i >> 3)
	}
	for _, n := range []int{
		0, 1, 63, 64, 65, 127, 128, 1023, 1024, 1025, 2048, 2049, 3072, 3073, 4096, 5000, 7168, 8192, 8193, 16384, 31744, 102400, 131072, 131073, len(b),
	} {
		want := digest.Of(b[:n])
		got := checksumOf(b[:n])
		if got.String() != want.String() {
			t.Errorf("%d bytes: %v, want %v", n, got, want)
		}
		var back checksum
		if err := back.UnmarshalText([]byte(want.String())); err != nil || back != got {
			t.Errorf("%v is read as %v, %v", want, back, err)
		}
	}
	for _, bad := range []string{"", "0", "zz", "00", digest.Of(nil).String() + "00", digest.Of(nil).String()[1:]} {
		if err := new(checksum).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is taken for a checksum", bad)
		}
	}
}
