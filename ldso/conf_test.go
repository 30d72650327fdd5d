package ldso

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestParseConf(t *testing.T) {
	fsys := fstest.MapFS{}
	for name, text := range map[string]string{
		"etc/ld.so.conf": "# a comment\ninclude ld.so.conf.d/*.conf\n\n" +
			"/opt/lib/ # trailing\n  /opt/old=libc5\nrelative\nhwcap 0 nosegneg\n/usr/local/lib\n" +
			"include\t/etc/more.conf /etc/none.conf /etc/[bad\ninclude ld.so.conf\n/with space\n",
		"etc/ld.so.conf.d/b.conf":       "/b\n",
		"etc/ld.so.conf.d/a.conf":       "/usr/local/lib\n/usr/local/lib//\n",
		"etc/ld.so.conf.d/.hidden.conf": "/hidden\n",
		"etc/ld.so.conf.d/a.conf.bak":   "/bak\n",
		"etc/more.conf":                 "include ld.so.conf.d/[!ac].conf\n/more",
	} {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	got, err := ParseConf(fsys, "etc/ld.so.conf")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/usr/local/lib", "/b", "/opt/lib", "/opt/old", "/more", "/with space"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("directories (-want +got):\n%s", diff)
	}
}

func TestParseConfErrors(t *testing.T) {
	long := fstest.MapFS{"c": &fstest.MapFile{Data: []byte(strings.Repeat("x", 1<<20))}}
	if _, err := ParseConf(long, "c"); err == nil || !strings.Contains(err.Error(), "read c") {
		t.Errorf("a line of a megabyte: %v", err)
	}
	if _, err := ParseConf(fstest.MapFS{}, "etc/ld.so.conf"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func FuzzParseConf(f *testing.F) {
	f.Add("include *.conf\n/lib=libc6\n", "include main\n/a # b\n")
	f.Fuzz(func(t *testing.T, main, included string) {
		dirs, err := ParseConf(fstest.MapFS{
			"main":   &fstest.MapFile{Data: []byte(main)},
			"a.conf": &fstest.MapFile{Data: []byte(included)},
		}, "main")
		if err != nil {
			return
		}
		for _, dir := range dirs {
			if !strings.HasPrefix(dir, "/") {
				t.Errorf("relative directory %q", dir)
			}
		}
	})
}
