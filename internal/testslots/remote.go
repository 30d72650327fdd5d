package testslots

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
)

// remote speaks the protocol by which GDB debugs at a distance (GDB's manual, "Remote Protocol").
type remote struct {
	conn net.Conn
	from *bufio.Reader
}

// packetBytes is how many bytes of memory are asked for at once: what is sent in answer, two characters
// each, is less than QEMU's packets can hold.
const packetBytes = 1024

// ask sends a packet and returns its answer.
func (r *remote) ask(packet string) (string, error) {
	if r.from == nil {
		r.from = bufio.NewReader(r.conn)
	}
	if _, err := fmt.Fprintf(r.conn, "$%s#%02x", packet, checksum([]byte(packet))); err != nil {
		return "", err
	}
	for { // up to the acknowledgement
		b, err := r.from.ReadByte()
		if err != nil {
			return "", err
		}
		if b == '+' {
			break
		}
		if b == '-' {
			return "", fmt.Errorf("%q was not understood", packet)
		}
	}
	if _, err := r.from.ReadBytes('$'); err != nil {
		return "", err
	}
	answer, err := r.from.ReadBytes('#')
	if err != nil {
		return "", err
	}
	answer = answer[:len(answer)-1]
	var sum [2]byte
	if _, err := io.ReadFull(r.from, sum[:]); err != nil {
		return "", err
	}
	if want := fmt.Sprintf("%02x", checksum(answer)); string(sum[:]) != want {
		return "", fmt.Errorf("the answer to %q has the checksum %s, and not %s", packet, sum, want)
	}
	_, err = io.WriteString(r.conn, "+")
	return string(answer), err
}

func checksum(b []byte) (sum byte) {
	for _, c := range b {
		sum += c
	}
	return sum
}

// transfer asks for all of an object that the other side has, such as "auxv".
func (r *remote) transfer(object string) ([]byte, error) {
	var all []byte
	for {
		answer, err := r.ask(fmt.Sprintf("qXfer:%s:read::%x,%x", object, len(all), packetBytes))
		if err != nil {
			return nil, err
		}
		if answer == "" || answer[0] != 'm' && answer[0] != 'l' {
			return nil, fmt.Errorf("read %s: %q", object, answer)
		}
		for part := []byte(answer[1:]); len(part) > 0; {
			before, escaped, ok := bytes.Cut(part, []byte("}"))
			all = append(all, before...)
			if part = escaped; ok && len(part) > 0 {
				all, part = append(all, part[0]^0x20), part[1:]
			}
		}
		if answer[0] == 'l' {
			return all, nil
		}
	}
}

// ReadAt reads memory.
func (r *remote) ReadAt(b []byte, addr int64) (n int, err error) {
	for n < len(b) {
		// An answer is of all that is asked for, or none: what is beside may not be mapped.
		const page = 4096
		size := min(len(b)-n, packetBytes, page-int((uint64(addr)+uint64(n))%page))
		answer, err := r.ask("m" + strconv.FormatUint(uint64(addr)+uint64(n), 16) + "," + strconv.FormatInt(int64(size), 16))
		if err != nil {
			return n, err
		}
		part, err := hex.DecodeString(answer)
		if err != nil || len(part) == 0 {
			return n, errors.New("read memory: " + answer)
		}
		n += copy(b[n:], part)
	}
	return n, nil
}
