package eventlog

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestEncode(t *testing.T) {
	have := string(Encode([]Field{{"MESSAGE", "a"}, {"X", "1"}, {"X", "2=3"}, {"Y", "b\nc"}, {"Z", ""}}))
	if want := "MESSAGE=a\nX=1\nX=2=3\nY\n\x03\x00\x00\x00\x00\x00\x00\x00b\nc\nZ=\n"; have != want {
		t.Errorf("%q, want %q", have, want)
	}
}

// listen returns a socket as that of the journal.
func listen(t *testing.T) (*net.UnixConn, string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "socket")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, name
}

// TestSendLarge sends what is too large for a datagram, which comes as a file that is sealed.
func TestSendLarge(t *testing.T) {
	l, name := listen(t)
	large := strings.Repeat("x", 1<<20)
	if err := Send(name, []Field{{"MESSAGE", large}}); err != nil {
		t.Fatal(err)
	}
	rights := make([]byte, unix.CmsgSpace(4))
	n, at, _, _, err := l.ReadMsgUnix(make([]byte, 64), rights)
	if err != nil || n != 0 {
		t.Fatalf("%d bytes and %v", n, err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:at])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%v, %v", messages, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("%v, %v", fds, err)
	}
	file := os.NewFile(uintptr(fds[0]), "entry")
	defer file.Close()
	if _, err := file.Write([]byte("y")); err == nil {
		t.Error("it can be written to")
	}
	b, err := io.ReadAll(io.NewSectionReader(file, 0, 2<<20))
	if err != nil || string(b) != "MESSAGE="+large+"\n" {
		t.Errorf("%d bytes and %v", len(b), err)
	}
}

// TestSendWaitsForNobody sends to who does not read, and to nobody.
func TestSendWaitsForNobody(t *testing.T) {
	_, name := listen(t)
	begun := time.Now()
	var err error
	for range 100_000 {
		if err = Send(name, []Field{{"MESSAGE", "x"}}); err != nil {
			break
		}
	}
	if !errors.Is(err, unix.EAGAIN) || time.Since(begun) > 30*time.Second {
		t.Errorf("the error is %v after %v", err, time.Since(begun))
	}
	if err := Send(name+"2", nil); !errors.Is(err, unix.ENOENT) {
		t.Errorf("the error is %v", err)
	}
}
