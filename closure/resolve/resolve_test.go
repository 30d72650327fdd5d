package resolve_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/closure/resolve"
	"github.com/hashpkg/hashpkg/digest"
)

var question = resolve.Question{Soname: "libz.so.1", Architecture: "amd64", WantedBy: "jq=1 usr/bin/jq", Versions: []string{"ZLIB_1.2.9"}}

func start(t *testing.T, timeout time.Duration, log *bytes.Buffer, specs ...string) *resolve.Chain {
	t.Helper()
	if log == nil {
		log = &bytes.Buffer{}
	}
	c, err := resolve.StartAll(context.Background(), specs, timeout, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

// answers returns a command that answers every question with a line.
func answers(line string) string {
	return "while read -r question; do printf '%s\\n' '" + line + "'; done"
}

// TestChain asks several resolvers in turn, and logs what they were asked and have answered.
func TestChain(t *testing.T) {
	d := digest.Of([]byte("library"))
	var log bytes.Buffer
	c := start(t, 0, &log, answers(`{"next":true}`), answers(`{"blake3":"`+d.String()+`","from":["https://example.org/{blake3}"]}`), "echo must not be asked; exit 1")
	for range 2 {
		a, from, err := c.Ask(context.Background(), question)
		if err != nil || a == nil || a.BLAKE3 != d || len(a.From) != 1 || !strings.Contains(from.Name(), d.String()) {
			t.Fatalf("%v: %+v", err, a)
		}
	}
	var entries []resolve.Entry
	for line := range strings.Lines(log.String()) {
		var e resolve.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	if len(entries) != 4 || !entries[0].Answer.Next || entries[3].Answer.BLAKE3 != d || entries[3].Soname != "libz.so.1" || entries[3].Versions[0] != "ZLIB_1.2.9" {
		t.Errorf("the log is\n%s", log.String())
	}
}

// TestNobody: no is the end of it, and so is that all leave it to the next.
func TestNobody(t *testing.T) {
	for name, specs := range map[string][]string{
		"no":   {answers(`{"no":true}`), answers(`{"path":"/lib/libz.so.1"}`)},
		"next": {answers(`{"next":true}`)},
		"none": {},
	} {
		if a, _, err := start(t, 0, nil, specs...).Ask(context.Background(), question); a != nil || err != nil {
			t.Errorf("%s: %v, %+v", name, err, a)
		}
	}
}

// TestQuestion: what a command reads is the question, on one line.
func TestQuestion(t *testing.T) {
	file := filepath.Join(t.TempDir(), "asked")
	c := start(t, 0, nil, "read -r q; printf '%s' \"$q\" >"+file+"; echo '{\"path\":\"/lib/libz.so.1\"}'")
	a, _, err := c.Ask(context.Background(), question)
	if err != nil || a.Path != "/lib/libz.so.1" {
		t.Fatalf("%v: %+v", err, a)
	}
	got, err := os.ReadFile(file)
	if want := `{"soname":"libz.so.1","architecture":"amd64","wanted_by":"jq=1 usr/bin/jq","versions":["ZLIB_1.2.9"]}`; err != nil || string(got) != want {
		t.Errorf("%v: it was asked\n%s\nwant\n%s", err, got, want)
	}
}

// TestHostile has resolvers whose answers are errors that name them.
func TestHostile(t *testing.T) {
	d := digest.Of([]byte("library")).String()
	for name, c := range map[string]struct{ command, want string }{
		"ends":            {"exit 3", "ended without an answer"},
		"dies half-way":   {"read -r q; printf '{\"path\":\"/li'; exit 1", "ended without an answer"},
		"complains":       {"read -r q; echo 'no database' >&2; exit 1", "ended without an answer"},
		"is silent":       {"read -r q; exec sleep 60", "has not answered"},
		"huge line":       {"read -r q; head -c 200000 /dev/zero | tr '\\0' a", "more than"},
		"no JSON":         {answers("libz"), "cannot be read"},
		"unknown member":  {answers(`{"path":"/lib/libz.so.1","x":1}`), "cannot be read"},
		"two values":      {answers(`{"no":true}{"no":true}`), "something else on the line"},
		"nothing":         {answers(`{}`), "is not one of"},
		"two kinds":       {answers(`{"path":"/lib/libz.so.1","no":true}`), "is not one of"},
		"relative path":   {answers(`{"path":"lib/libz.so.1"}`), "not absolute and clean"},
		"path outside":    {answers(`{"path":"/lib/../../etc/shadow"}`), "not absolute and clean"},
		"no digest":       {answers(`{"path":"/lib/libz.so.1","from":["https://example.org/{blake3}"]}`), "no digest"},
		"half a digest":   {answers(`{"blake3":"` + d[:10] + `"}`), "cannot be read"},
		"other addresses": {answers(`{"blake3":"` + d + `","from":["ftp://example.org/{blake3}"]}`), "http, https or file"},
	} {
		t.Run(name, func(t *testing.T) {
			timeout := 20 * time.Second
			if name == "is silent" {
				timeout = 50 * time.Millisecond
			}
			var log bytes.Buffer
			a, _, err := start(t, timeout, &log, c.command).Ask(context.Background(), question)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "asked for libz.so.1") {
				t.Errorf("%+v, error %v, want one about %q", a, err, c.want)
			}
			if !strings.Contains(log.String(), `"error":"`) {
				t.Errorf("the log is %s", log.String())
			}
		})
	}
	if _, err := resolve.Start(context.Background(), " ", 0); err == nil {
		t.Error("no command was started")
	}
	if _, err := resolve.Start(context.Background(), "unix:"+filepath.Join(t.TempDir(), "none"), 0); err == nil {
		t.Error("a socket that is not there was connected to")
	}
}

// TestInterrupted: who waits for an answer can be interrupted.
func TestInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	c := start(t, time.Hour, nil, "read -r q; exec sleep 60")
	time.AfterFunc(50*time.Millisecond, stop)
	if _, _, err := c.Ask(ctx, question); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

// TestSocket asks a server at a socket.
func TestSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		lines := bufio.NewScanner(c)
		for lines.Scan() {
			if _, err := c.Write([]byte(`{"path":"/opt/libz.so.1"}` + "\n")); err != nil {
				served <- err
				return
			}
		}
		served <- c.Close()
	}()
	r, err := resolve.Start(context.Background(), "unix:"+socket, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if a, err := r.Ask(context.Background(), question); err != nil || a.Path != "/opt/libz.so.1" {
			t.Fatalf("%v: %+v", err, a)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
