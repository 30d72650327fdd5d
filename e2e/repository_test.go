package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hashpkg/hashpkg/backends/deb"
)

// repository makes a repository in a directory, of packages that are files, and
// DIR/SUITE.sources, which names it and has its key. A second one in the same directory
// takes the place of the first, and is signed with the same key.
func repository(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: repository DIR SUITE DATE DEB...")
	}
	dir, suite := ts.MkAbs(args[0]), args[1]
	date, err := time.Parse(time.DateOnly, args[2])
	ts.Check(err)
	ts.Check(os.MkdirAll(filepath.Join(dir, "pool"), 0o755))
	var packages strings.Builder
	for _, file := range args[3:] {
		content := []byte(ts.ReadFile(file))
		path := "pool/" + filepath.Base(file)
		ts.Check(os.WriteFile(filepath.Join(dir, path), content, 0o644))
		r, err := deb.Format{}.Open(bytes.NewReader(content), nil)
		ts.Check(err)
		for _, f := range r.Package().Fields {
			fmt.Fprintf(&packages, "%s: %s\n", f.Name, f.Value)
		}
		ts.Check(r.Close())
		fmt.Fprintf(&packages, "Filename: %s\nSize: %d\nSHA256: %x\n\n", path, len(content), sha256.Sum256(content))
	}
	name := "main/binary-amd64/Packages"
	suiteDir := filepath.Join(dir, "dists", suite)
	ts.Check(os.MkdirAll(filepath.Join(suiteDir, filepath.Dir(name)), 0o755))
	ts.Check(os.WriteFile(filepath.Join(suiteDir, name), []byte(packages.String()), 0o644))
	release := fmt.Sprintf("Origin: Test\nSuite: %s\nCodename: %s\nDate: %s\nArchitectures: amd64\nComponents: main\nSHA256:\n %x %d %s\n",
		suite, suite, date.Format(time.RFC1123), sha256.Sum256([]byte(packages.String())), packages.Len(), name)
	key, err := repositoryKey(filepath.Join(dir, "private.key"), date)
	ts.Check(err)
	var signed bytes.Buffer
	w, err := clearsign.Encode(&signed, key.PrivateKey, &packet.Config{Time: func() time.Time { return date }})
	ts.Check(err)
	_, err = io.WriteString(w, release)
	ts.Check(errors.Join(err, w.Close()))
	ts.Check(os.WriteFile(filepath.Join(suiteDir, "InRelease"), append(signed.Bytes(), '\n'), 0o644))
	public, err := armored(openpgp.PublicKeyType, key.Serialize)
	ts.Check(err)
	sources := fmt.Sprintf("Types: deb\nURIs: file:%s\nSuites: %s\nComponents: main\nSigned-By:\n", dir, suite)
	for line := range strings.Lines(public + "\n") {
		if strings.TrimSpace(line) == "" {
			line = ".\n"
		}
		sources += " " + line
	}
	ts.Check(os.WriteFile(filepath.Join(dir, suite+".sources"), []byte(sources), 0o644))
}

// repositoryKey returns the key that a file has, or a new one, which it puts there.
func repositoryKey(file string, made time.Time) (*openpgp.Entity, error) {
	text, err := os.ReadFile(file)
	if err == nil {
		keys, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		return keys[0], nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	config := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return made }}
	key, err := openpgp.NewEntity("archive", "", "archive@example.org", config)
	if err != nil {
		return nil, err
	}
	private, err := armored(openpgp.PrivateKeyType, func(w io.Writer) error { return key.SerializePrivate(w, config) })
	if err != nil {
		return nil, err
	}
	return key, os.WriteFile(file, []byte(private), 0o600)
}

func armored(kind string, serialize func(io.Writer) error) (string, error) {
	var b bytes.Buffer
	w, err := armor.Encode(&b, kind, nil)
	if err == nil {
		err = errors.Join(serialize(w), w.Close())
	}
	return b.String(), err
}
