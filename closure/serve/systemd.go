package serve

import (
	_ "embed" // the units
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

//go:embed hashpkg-serve.socket
var socketUnit string

//go:embed hashpkg-serve.service
var serviceUnit string

// Units returns the units of systemd by which a command line serves, the socket's first.
func Units(command string) (socket, service string) {
	lines := strings.Split(serviceUnit, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "ExecStart=") {
			lines[i] = "ExecStart=" + command
		}
	}
	return socketUnit, strings.Join(lines, "\n")
}

const firstSocket = 3 // sd_listen_fds(3): SD_LISTEN_FDS_START

// Activated returns the listeners that systemd has opened for this process; none where it has not.
func Activated(getenv func(string) string) ([]net.Listener, error) {
	if pid, err := strconv.Atoi(getenv("LISTEN_PID")); err != nil || pid != os.Getpid() {
		return nil, nil //nolint:nilerr // they are for another process, or there are none
	}
	n, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || n < 1 || n > 64 {
		return nil, fmt.Errorf("LISTEN_FDS=%s is no number of sockets", getenv("LISTEN_FDS"))
	}
	var out []net.Listener
	for fd := firstSocket; fd < firstSocket+n; fd++ {
		f := os.NewFile(uintptr(fd), "socket "+strconv.Itoa(fd))
		l, err := net.FileListener(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("use a socket of systemd: %w", err)
		}
		out = append(out, l)
	}
	return out, nil
}

// Notify tells systemd a state, such as "READY=1": sd_notify(3). It does nothing where nobody wants to know.
func Notify(getenv func(string) string, state string) (err error) {
	address := getenv("NOTIFY_SOCKET")
	if address == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	_, err = c.Write([]byte(state))
	return err
}
