package live

import (
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// mounts are those of a process in a view that was refreshed once.
const mounts = `20 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 20 254:0 /usr /var/sys/.hashpkg/host/usr rw,relatime master:1 - ext4 /dev/vda rw
31 20 254:0 /var/sys/.hashpkg/views/85831d /var/sys/.hashpkg/host/view rw,relatime master:1 - ext4 /dev/vda rw
32 20 0:50 / /usr ro,relatime - overlay hashpkg ro,lowerdir=/var/sys/.hashpkg/host/view/usr:/var/sys/.hashpkg/host/usr
33 32 254:0 /usr/local /usr/local rw,relatime master:1 - ext4 /dev/vda rw
34 32 0:51 / /usr ro,relatime - overlay hashpkg ro,lowerdir=/var/sys/.hashpkg/host/view/usr:/var/sys/.hashpkg/host/usr
35 34 254:0 /usr/local /usr/local rw,relatime master:1 - ext4 /dev/vda rw
36 35 0:52 / /usr/local/own rw - tmpfs probe rw
`

func TestFindView(t *testing.T) {
	with := func(old, new string) string { return strings.ReplaceAll(mounts, old, new) }
	found := view{host: "/var/sys/.hashpkg/host", ids: []string{"85831d"}, depth: 2, mounts: map[string]bool{"34": true, "35": true, "36": true}}
	joined := found
	joined.ids, joined.joined = []string{"85831d", "1"}, true
	foreign := found
	foreign.ids = []string{"x"}
	odd := found
	odd.host = "/o,d:d\\ é/.hashpkg/host"
	for _, test := range []struct {
		name, text string
		want       *view
	}{
		{"a view", mounts, &found},
		{"another prefix besides", mounts + "40 20 254:0 /x/.hashpkg/views/1 /x/.hashpkg/host/view rw - ext4 /dev/vda rw\n", &found},
		{"the view that was entered last", mounts + "40 31 254:0 /var/sys/.hashpkg/views/85831d /var/sys/.hashpkg/host/view rw - ext4 /dev/vda rw\n", &found},
		{"an odd prefix", strings.ReplaceAll(with("=/var/sys", `=/o\134,d\134:d\134\134\040é`), "/var/sys/.hashpkg/host", `/o,d:d\134\040é/.hashpkg/host`), &odd},
		{"several views", mounts + "40 31 0:49 / /var/sys/.hashpkg/host/view ro - overlay hashpkg ro,lowerdir=/var/sys/.hashpkg/views/85831d:/var/sys/.hashpkg/views/1\n", &joined},
		{"another's overlay of several", mounts + "40 31 0:49 /x /var/sys/.hashpkg/host/view ro - overlay x ro,lowerdir=/var/sys/.hashpkg/views/1\n", &foreign},
		{"nothing", "", nil},
		{"no view", mounts[:strings.Index(mounts, "30 ")], nil},
		{"something over it", mounts + "40 34 0:60 / /usr rw - tmpfs x rw\n", nil},
		{"a part of an overlay", with("34 32 0:51 / ", "34 32 0:51 /share "), nil},
		{"another's overlay", with("0:51 / /usr ro,relatime - overlay hashpkg", "0:51 / /usr ro,relatime - overlay overlay"), nil},
		{"where the host is not seen", with("/host/view rw", "/host/other rw"), nil},
	} {
		v, ok := findView(test.text)
		if ok != (test.want != nil) {
			t.Errorf("%s: it finds %+v, %v", test.name, v, ok)
		} else if ok {
			if diff := cmp.Diff(*test.want, v, cmp.AllowUnexported(view{})); diff != "" {
				t.Errorf("%s: (-want +have)\n%s", test.name, diff)
			}
		}
	}
}

func FuzzFindView(f *testing.F) {
	f.Add(mounts)
	f.Add("1 1 0:1 / /usr ro - overlay hashpkg ro\n2 1 0:1 / /a\\1 ro - a b c\n")
	f.Fuzz(func(t *testing.T, text string) {
		if v, ok := findView(text); ok && (v.host == "" || v.depth < 1) {
			t.Errorf("it finds %+v", v)
		}
	})
}

func TestParseStatus(t *testing.T) {
	for text, want := range map[string]*syscall.Credential{
		"Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \n": {Uid: 2, Gid: 6, Groups: []uint32{9, 10}},
		"Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t\n":                {Uid: 2, Gid: 6},
		"Uid:\t1\t2\t3\t4\n":                         nil,
		"Uid:\t1\nGid:\t5\t6\t7\t8\n":                nil,
		"Uid:\t1\t-2\t3\t4\nGid:\t5\t6\t7\t8\n":      nil,
		"Uid:\t1\t4294967296\t3\nGid:\t5\t6\t7\t8\n": nil,
		"": nil,
	} {
		if diff := cmp.Diff(want, parseStatus(text), cmp.AllowUnexported(syscall.Credential{})); diff != "" {
			t.Errorf("%q: (-want +have)\n%s", text, diff)
		}
	}
}
