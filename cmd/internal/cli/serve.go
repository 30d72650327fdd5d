package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/closure/serve"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/visible"
)

// serveFlags are the flags of hashpkg serve.
type serveFlags struct {
	listen, user, certificate, key, manifests string
	printUnits                                bool
}

func newServeCommand(a *app) *cobra.Command {
	var o serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Give other machines the files of installed packages, by their digests",
		Long: `Give other machines the files of installed packages as they were packaged, by HTTP,
until a signal ends it. Nobody has to trust the server: a closure manifest says what
the digest of each file is, and who fetches by it verifies what comes.

  /objects/BLAKE3    a file; /sha256/SHA256 is the same
  /manifests/NAME    a closure manifest of the directory that --manifests names, or
                     NAME.note, its signatures; /manifests/BLAKE3 finds it by digest

A manifest that is made with --mirror http://ADDRESS/objects/{blake3} has its files
fetched from here, many by one request.

Files that were edited are given as they were before. What not everybody may read on
a machine with the package is not given, and what scripts have made neither: no
configuration of this machine, and no keys. Nothing is listed; but who has the digest
of a file learns whether it is installed here. Packages may be installed and removed
meanwhile.

--user gives the rights of root up once the address is opened and the key is read.
Sockets that systemd has opened are used in the place of --listen; --print-units
prints units for the options that are given.`,
		Example: `  # On this machine only
  hashpkg serve
  # For a machine room, with manifests
  hashpkg serve --listen :8417 --user nobody --manifests /srv/manifests
  # By systemd, which starts it when the first machine asks
  systemctl enable --now hashpkg-serve.socket
  # A line of JSON for each request
  hashpkg serve --json`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return runServe(c.Context(), a, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:8417", "wait at `ADDRESS`, HOST:PORT")
	f.StringVar(&o.user, "user", "", "become the user `NAME`")
	f.StringVar(&o.certificate, "tls-cert", "", "speak TLS by the certificate in `FILE`, and what leads to who vouches for it")
	f.StringVar(&o.key, "tls-key", "", "have its key from `FILE`")
	f.StringVar(&o.manifests, "manifests", "", "give the closure manifests in `DIR`, too")
	f.BoolVar(&o.printUnits, "print-units", false, "print units of systemd for it, and end")
	cmd.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	a.completeFlag(cmd, "user", nothing, noFiles)
	a.completeFlag(cmd, "listen", nothing, noFiles)
	return cmd
}

func runServe(ctx context.Context, a *app, o serveFlags) error {
	if o.printUnits {
		return a.printUnits(o)
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	defer root.Close()
	log := &requestLog{app: a}
	options := serve.Options{Store: root.Store(), Log: log.add}
	if o.manifests != "" {
		options.Manifests = serve.NewManifests(o.manifests)
	}
	var certificate *tls.Certificate
	if o.certificate != "" {
		c, err := tls.LoadX509KeyPair(o.certificate, o.key)
		if err != nil {
			return fmt.Errorf("read the certificate: %w", err)
		}
		certificate = &c
	}
	listeners, err := serve.Activated(a.Getenv)
	if err != nil {
		return err
	}
	if len(listeners) == 0 {
		l, err := net.Listen("tcp", o.listen)
		if err != nil {
			return fmt.Errorf("serve: %w", err)
		}
		listeners = []net.Listener{l}
	}
	if o.user != "" {
		if err := become(o.user); err != nil {
			return err
		}
	}
	server, err := serve.New(options)
	if err != nil {
		return err
	}
	scheme := "http"
	if certificate != nil {
		scheme = "https"
	}
	for _, l := range listeners {
		a.notice("serves at %s://%s\n", scheme, l.Addr())
	}
	if err := serve.Notify(a.Getenv, "READY=1"); err != nil {
		return err
	}
	err = server.Serve(ctx, listeners, certificate)
	if e := serve.Notify(a.Getenv, "STOPPING=1"); err == nil {
		err = e
	}
	if isA[Interrupted](context.Cause(ctx)) && err == nil {
		a.notice("ended\n")
	}
	return errors.Join(err, log.err)
}

// become gives the rights of root up.
func become(name string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return usageError{fmt.Errorf("--user %s: %w", name, err)}
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return fmt.Errorf("--user %s: %w", name, err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return fmt.Errorf("--user %s: %w", name, err)
	}
	if uid == os.Geteuid() && uid != 0 {
		return nil
	}
	if os.Geteuid() != 0 {
		return advice.Errorf("--user %s: only root can become another user; run hashpkg serve as %s, without --user", name, name)
	}
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("become %s: %w", name, err)
	}
	if err := syscall.Setgid(gid); err != nil {
		return fmt.Errorf("become %s: %w", name, err)
	}
	if err := syscall.Setuid(uid); err != nil {
		return fmt.Errorf("become %s: %w", name, err)
	}
	return nil
}

// printUnits prints a socket unit and a service unit.
func (a *app) printUnits(o serveFlags) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	words := []string{program, "serve", "--quiet"}
	for _, flag := range []struct{ name, value string }{
		{"root", a.root}, {"prefix", a.prefix}, {"tls-cert", o.certificate}, {"tls-key", o.key}, {"manifests", o.manifests},
	} {
		if flag.value != "" && (flag.name != "root" || a.isGiven("root")) {
			words = append(words, "--"+flag.name, quoteUnit(flag.value))
		}
	}
	socket, service := serve.Units(strings.Join(words, " "))
	return a.printf("# /etc/systemd/system/hashpkg-serve.socket\n%s\n# /etc/systemd/system/hashpkg-serve.service\n%s", socket, service)
}

// quoteUnit quotes a word of a command line in a unit: systemd.service(5).
func quoteUnit(s string) string {
	s = strings.NewReplacer("%", "%%", "$", "$$").Replace(s)
	if strings.ContainsAny(s, " \t\"'\\;") {
		return strconv.Quote(s)
	}
	return s
}

// requestLog shows requests that were answered.
type requestLog struct {
	app *app

	mu  sync.Mutex
	err error // the first one of writing, after which nothing is written
}

func (l *requestLog) add(e serve.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.err != nil:
	case l.app.json:
		l.err = l.app.printJSON(e)
	case !l.app.quiet:
		text := fmt.Sprintf("%s %s %s %s %d %d %v", e.Time.UTC().Format(time.RFC3339), e.Client, e.Method, e.Path, e.Status, e.Bytes, e.Duration.Round(time.Millisecond))
		if e.Files > 0 {
			text += fmt.Sprintf(" %d files", e.Files)
		}
		if e.Error != "" {
			text += ": " + e.Error
		}
		l.app.notice("%s\n", visible.Line(text))
	}
}
