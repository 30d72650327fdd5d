package digest_test

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
)

// A stream is read, and known at its end to be the promised one or another.
func ExampleVerifyReader() {
	promised := digest.Of([]byte("what was promised"))
	for _, sent := range []string{"what was promised", "what was premised"} {
		_, err := io.Copy(io.Discard, digest.VerifyReader(strings.NewReader(sent), promised))
		fmt.Println(sent, errors.Is(err, digest.ErrMismatch))
	}
	// Output:
	// what was promised false
	// what was premised true
}

// A name that was written is read back.
func ExampleParse() {
	d := digest.Of([]byte("hello\n"))
	again, err := digest.Parse(d.String())
	fmt.Println(again == d, err, d.Short())
	// Output:
	// true <nil> 8e4c7c1b
}
