// Package testsaid keeps what refused commands say, for somebody who reads it as a whole.
package testsaid

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Refused adds what a command has said on standard error to the file of HASHPKG_TEST_MESSAGES, if there is
// that variable. args are those of hashpkg.
func Refused(args []string, stderr string) error {
	name := os.Getenv("HASHPKG_TEST_MESSAGES")
	if name == "" {
		return nil
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("keep messages: %w", err)
	}
	_, err = fmt.Fprintf(file, "$ hashpkg %s\n%s\n", strings.Join(args, " "), stderr) // at once: tests run beside each other
	return errors.Join(err, file.Close())
}
