package rpm

import "testing"

func TestVendor(t *testing.T) {
	for _, tt := range [][3]string{
		{"fedora-42", "1-1", "fedora"},
		{"centos-stream-9", "1-1.el9", "centos"},
		{"epel-9", "1-1.el9", "fedora"},
		{"opensuse-leap-15.6", "1-1", "opensuse"},
		{"", "1-1.fc42", "fedora"},
		{"", "1-1.el9", "redhat"},
		{"", "1-1", ""},
	} {
		if have := (Format{}).Vendor(tt[0], tt[1]); have != tt[2] {
			t.Errorf("of %q, %s: %q, want %q", tt[0], tt[1], have, tt[2])
		}
	}
}
