package deb

import "testing"

func TestVendor(t *testing.T) {
	for _, tt := range [][3]string{
		{"trixie", "1-1ubuntu1", "debian"},
		{"noble", "1-1build1", "ubuntu"},
		{"ubuntu-24.04", "1-1", "ubuntu"},
		{"", "1-1ubuntu1", "ubuntu"},
		{"", "1-1", "debian"},
	} {
		if have := (Format{}).Vendor(tt[0], tt[1]); have != tt[2] {
			t.Errorf("of %q, %s: %q, want %q", tt[0], tt[1], have, tt[2])
		}
	}
}
