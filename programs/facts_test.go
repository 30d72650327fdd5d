package programs

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/layout/record"
)

// TestSealed has programs whose bytes are known to somebody else.
func TestSealed(t *testing.T) {
	packaged := program(t)
	root := newRoot(t, map[string][]byte{
		"usr/bin/tool": packaged, "usr/bin/.tool.hmac": nil, "usr/bin/sshd": packaged, "usr/bin/fipscheck/sshd.hmac": nil, "usr/bin/free": packaged,
	})
	records, decisions := planned(t, root, root, rewriteAll(), tool("tool"), tool("sshd"), tool("free"))
	outcomes := apply(t, root, records, decisions)
	if diff := cmp.Diff(map[string]State{"/usr/bin/tool": Left, "/usr/bin/sshd": Left, "/usr/bin/free": Edited}, states(outcomes)); diff != "" {
		t.Error(diff)
	}
	if want := Reason("is compared with /usr/bin/fipscheck/sshd.hmac when it starts, which an edit would contradict"); outcomes[1].Reason != want {
		t.Errorf("it %s", outcomes[1].Reason)
	}
	ima := filepath.Join(root.Dir(), "usr/bin/free")
	if err := unix.Setxattr(ima, "security.ima", []byte("\x03\x02signature"), 0); err != nil {
		t.Logf("no signature can be set: %v", err)
		return
	}
	// It was edited before it was signed: the signature is over these bytes, but the
	// packaged ones are what is wanted.
	_, decisions = planned(t, root, root, rewriteAll(), tool("free"))
	if d := decisions[0]; d.Desired != nil || !d.Changes() {
		t.Errorf("%+v", d)
	}
}

// TestAltered has a program that is not what its package brought.
func TestAltered(t *testing.T) {
	packaged := program(t)
	root := newRoot(t, map[string][]byte{"usr/bin/tool": packaged, "usr/bin/good": packaged})
	_, decisions := planned(t, root, root, rewriteAll(),
		&Program{Package: pkgOf("tool"), Path: "/usr/bin/tool", Digest: "md5:" + strings.Repeat("0", 32)},
		&Program{Package: pkgOf("tool"), Path: "/usr/bin/good", Digest: "unknown:0"}, tool("gone"))
	if len(decisions) != 2 || decisions[0].Left != "is not the file that its package brought" || decisions[1].Left != "" {
		t.Errorf("%+v", decisions)
	}
}

// TestElsewhere has a program that searches another prefix, and has no record in this
// one.
func TestElsewhere(t *testing.T) {
	packaged := program(t)
	_, edited, err := rewritten(packaged, []record.EditRecord{{Kind: record.EditRunPath, To: []string{"/x:/srv/sys/current-system/lib64"}}})
	if err != nil {
		t.Fatal(err)
	}
	root := newRoot(t, map[string][]byte{"usr/bin/tool": edited})
	_, decisions := planned(t, root, root, rewriteAll(), &Program{Package: pkgOf("tool"), Path: "/usr/bin/tool", Digest: "md5:" + strings.Repeat("0", 32)})
	if decisions[0].Left == "" || decisions[0].Elsewhere != "/srv/sys" {
		t.Errorf("%+v", decisions[0])
	}
}
