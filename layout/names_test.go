package layout

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, good := range []string{"jq", "libstdc++6", "libc6", "0ad", "glibc-common", "perl-Foo_Bar", "default"} {
		if err := CheckName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "current-system", ".hashpkg", "..", "../x", "a/b", "a:b", "a$b", "a\nb", "a b", "a\x00", "a%b", "a@b", "ä", strings.Repeat("a", 201)} {
		var name *NameError
		if err := CheckName(bad); !errors.As(err, &name) {
			t.Errorf("%q: %v, want a *NameError", bad, err)
		}
	}
}

func TestEscapeVersion(t *testing.T) {
	for version, want := range map[string]string{"1.6-2.1": "1.6-2.1", "1:1.2.11-40.el9": "1%3a1.2.11-40.el9", "1.0~rc1+b1^x": "1.0~rc1+b1^x"} {
		if got, err := EscapeVersion(version); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", version, got, err, want)
		}
	}
	for _, bad := range []string{"", "default", ".", "..", ".x", "1/2", "1$2", "1\n", "1 2", "1;2", "1%3a2", "1@2", strings.Repeat("1", 201)} {
		if got, err := EscapeVersion(bad); err == nil {
			t.Errorf("%q is accepted as %q", bad, got)
		}
	}
}

func TestCheckPrefix(t *testing.T) {
	for _, good := range []string{"/var/sys", "/home/u/my sys"} {
		if err := CheckPrefix(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "sys", "/", "/var/../sys", "/var/sys/", "/a:b", "/a;b", "/$ORIGIN"} {
		if err := CheckPrefix(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestMergeUsr(t *testing.T) {
	for p, want := range map[string]string{
		"bin/sh": "usr/bin/sh", "lib64/ld.so": "usr/lib64/ld.so", "lib": "lib", "libexec/x": "libexec/x", "usr/bin/x": "usr/bin/x", "etc/x": "etc/x",
	} {
		if got := MergeUsr(p); got != want {
			t.Errorf("MergeUsr(%q) = %q, want %q", p, got, want)
		}
	}
}
