// Package eventlog writes structured entries to systemd's journal or to a file of JSON lines.
// [Send] and [Append] never wait: what cannot be written at once is lost, and the error says why.
package eventlog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Socket is where systemd-journald takes entries in its own protocol.
const Socket = "/run/systemd/journal/socket"

// Field is a field of an entry of the journal. A name that comes more than once has all of the
// values, and each of them is found by it.
type Field struct {
	Name  string // capital letters, digits and underscores; the first is a letter
	Value string // any bytes
}

// Encode returns an entry as the journal's native protocol has it (systemd, "Native Journal
// Protocol"): a line of NAME=VALUE or, where the value has a newline, NAME, a newline, the
// length in 8 bytes, little endian, the value, and a newline.
func Encode(fields []Field) []byte {
	var b bytes.Buffer
	for _, f := range fields {
		b.WriteString(f.Name)
		if strings.Contains(f.Value, "\n") {
			b.WriteByte('\n')
			b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(f.Value))))
		} else {
			b.WriteByte('=')
		}
		b.WriteString(f.Value)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// Send sends an entry to the journal at a socket. One that is too large for a datagram is sent as
// a sealed file in memory. The error wraps [unix.EAGAIN] where the journal does not read, and
// [unix.ENOENT] or [unix.ECONNREFUSED] where there is none.
func Send(socket string, fields []Field) (err error) {
	fail := func(err error) error { return fmt.Errorf("send to the journal at %s: %w", socket, err) }
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	entry, to := Encode(fields), &unix.SockaddrUnix{Name: socket}
	err = unix.Sendto(fd, entry, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, to)
	if errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.ENOBUFS) {
		err = sendFile(fd, entry, to)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// sendFile sends an entry as a file that nobody can change any more.
func sendFile(fd int, entry []byte, to unix.Sockaddr) (err error) {
	memory, err := unix.MemfdCreate("hashpkg-entry", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(memory), "entry")
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(entry); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL); err != nil {
		return err
	}
	return unix.Sendmsg(fd, nil, unix.UnixRights(memory), to, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
}

// Append writes a value as a line of JSON at the end of a file, which is open for reading and
// appending. A line that a full disk has cut short before is ended first.
func Append(file *os.File, v any) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err
	}
	line := b.Bytes()
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if last := []byte{'\n'}; end > 0 {
		if _, err := file.ReadAt(last, end-1); err == nil && last[0] != '\n' {
			line = append([]byte{'\n'}, line...)
		}
	}
	_, err = file.Write(line)
	return err
}
