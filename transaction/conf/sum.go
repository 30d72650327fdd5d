package conf

import (
	"io"

	"github.com/hashpkg/hashpkg/digest"
)

func sum(b []byte) string { return digest.Of(b).String() }

func sumOf(r io.Reader) (string, error) {
	d, _, err := digest.OfReader(r)
	return d.String(), err
}
