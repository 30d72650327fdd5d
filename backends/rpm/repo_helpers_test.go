package rpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// getFrom returns a Get for the files of a directory, which is at an address, too.
func getFrom(dir, address string) func(context.Context, string, int64) ([]byte, error) {
	return func(_ context.Context, path string, limit int64) ([]byte, error) {
		name := path
		if address != "" {
			name = strings.TrimPrefix(path, address+"/")
		}
		if !fs.ValidPath(name) || strings.Contains(name, "://") {
			return nil, fmt.Errorf("get %s: %w", path, fs.ErrNotExist)
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil && int64(len(b)) > limit {
			return nil, fmt.Errorf("get %s: it has more than %d bytes", path, limit)
		}
		return b, err
	}
}

// newTestKey returns a key that is older than everything that it signs.
func newTestKey(t testing.TB) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity("Repository", "", "r@example.org", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return someDate.Add(-time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func armoredKey(t testing.TB, e *openpgp.Entity) string {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.Serialize(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
