package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The link that files come by: a good line at home, to a server of the same country.
const (
	linkRate  = 100e6 / 8             // bytes a second, each way
	linkDelay = 20 * time.Millisecond // each way
	linkSaid  = "100 Mbit/s, 20 ms each way"
)

const distributeSuite = "trixie"

// benchDistribute brings a program with all that it needs to a new root from a server, a registry, and beside these
// the same files by other programs.
func benchDistribute(h *harness) error {
	d, err := h.newDistribution("ffmpeg")
	if err != nil {
		return err
	}
	defer d.mirror.server.Close()
	for _, part := range []func(*harness) error{d.byServer, d.byNix, d.byRegistry} {
		if err := h.aside(part); err != nil {
			return err
		}
	}
	return nil
}

// aside runs a part of a section whose files are removed when it is done: others would have no room.
func (h *harness) aside(part func(*harness) error) (err error) {
	whole := h.dir
	if h.dir, err = h.fresh("part"); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, os.RemoveAll(h.dir))
		h.dir = whole
	}()
	return part(h)
}

// distribution is a program that is installed, and is to come elsewhere.
type distribution struct {
	mirror  *mirror
	program string
	root    string // where it is installed
	dir     string // has its closure manifest, by the name of the program
}

func (h *harness) newDistribution(program string) (*distribution, error) {
	m, err := h.newMirrorOf(distributeSuite)
	if err != nil {
		return nil, err
	}
	d := &distribution{mirror: m, program: program}
	if err := d.install(h); err != nil {
		return nil, errors.Join(err, m.server.Close())
	}
	return d, nil
}

func (d *distribution) install(h *harness) (err error) {
	if d.root, err = h.repoRoot(d.mirror); err != nil {
		return err
	}
	if _, err := h.time(h.hashpkg, "--root", d.root, "update", "-q"); err != nil {
		return err
	}
	if _, _, err := h.fillPool(d.mirror, d.root, d.program); err != nil {
		return err
	}
	if _, err := h.time(h.hashpkg, "--root", d.root, "install", "-q", "--from", d.mirror.suite, d.program); err != nil {
		return err
	}
	if d.dir, err = h.fresh("manifests"); err != nil {
		return err
	}
	_, err = h.time(h.hashpkg, "--root", d.root, "manifest", d.program, "-o", filepath.Join(d.dir, d.program))
	return err
}

// start starts a server that h.hashpkg or others have, and returns what ends it. It serves when ready is true.
func (h *harness) start(ready func() bool, name string, args ...string) (end func(), err error) {
	log, err := os.Create(filepath.Join(h.dir, filepath.Base(name)+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(h.ctx, name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	end = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it was told to end
	}
	for range 100 {
		if ready() {
			return end, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	end()
	text, err := os.ReadFile(log.Name())
	return nil, fmt.Errorf("%s does not answer: %s (%v)", name, text, err)
}

// answers reports whether somebody takes connections.
func answers(address string) func() bool {
	return func() bool {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}
}

// freeAddress returns an address of loopback at which nobody waits.
func (h *harness) freeAddress() (string, error) {
	l, err := new(net.ListenConfig).Listen(h.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// byLink compares what comes by a link from a server with one plain transfer of as many bytes by another link of the
// same kind. fetch is what brings it, from an address.
func (h *harness) byLink(what, target, server string, fetch func(address string) (measure, error)) error {
	l, err := newLink(h.ctx, server, linkRate, linkDelay)
	if err != nil {
		return err
	}
	var size int64
	results, err := h.compare(
		contender{what, func() (measure, error) {
			before := l.down.came.Load()
			m, err := fetch(l.address())
			size = l.down.came.Load() - before
			return m, err
		}},
		contender{"a plain transfer", func() (measure, error) { return h.plainTransfer(size) }},
	)
	if cerr := l.close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	h.add(fmt.Sprintf("%s (%d MB, %s)", what, size/1e6, linkSaid), seconds(results[0].wall), "", "")
	h.add("  to a plain transfer of as many bytes", ratio(results[0], results[1]), seconds(results[1].wall), target)
	h.add("  peak memory", fmt.Sprintf("%d MB", results[0].memory/1e6), "", "")
	return nil
}

// plainTransfer takes so many bytes by one request and a link, and drops them.
func (h *harness) plainTransfer(size int64) (m measure, err error) {
	listener, err := new(net.ListenConfig).Listen(h.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return m, err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.CopyN(w, zeros{}, size) // who reads counts
	})}
	go server.Serve(listener) //nolint:errcheck // it ends when it is closed
	defer server.Close()
	l, err := newLink(h.ctx, listener.Addr().String(), linkRate, linkDelay)
	if err != nil {
		return m, err
	}
	request, err := http.NewRequestWithContext(h.ctx, http.MethodGet, "http://"+l.address()+"/", nil)
	if err != nil {
		return m, err
	}
	request.Close = true
	start := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return m, err
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	m.wall = time.Since(start)
	if err == nil && n != size {
		err = fmt.Errorf("%d of %d bytes came", n, size)
	}
	if cerr := l.close(); err == nil {
		err = cerr
	}
	return m, err
}

// zeros has no end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// byServer fetches from hashpkg serve, and from a web server that has the objects as files.
func (d *distribution) byServer(h *harness) error {
	address, err := h.freeAddress()
	if err != nil {
		return err
	}
	end, err := h.start(answers(address), h.hashpkg, "--root", d.root, "serve", "--listen", address)
	if err != nil {
		return err
	}
	defer end()
	return h.byLink("fetch "+d.program+" from hashpkg serve", "at most 1.2", address, func(address string) (measure, error) {
		return d.bring(h, "fetch", filepath.Join(d.dir, d.program), "--mirror", "http://"+address+"/objects/{blake3}", "--then", "nothing")
	})
}

// bring has a new root fetch or pull.
func (d *distribution) bring(h *harness, args ...string) (measure, error) {
	root, err := h.fresh("fetched")
	if err != nil {
		return measure{}, err
	}
	return h.time(h.hashpkg, append(args, "--root", root, "-q", "--signature", "off")...)
}

// byRegistry pulls from Debian's docker-registry, on loopback and by a link. Beside that an image with the same
// files comes by skopeo and podman.
func (d *distribution) byRegistry(h *harness) (err error) {
	if err := needPrograms("docker-registry", "skopeo", "podman"); err != nil || os.Geteuid() != 0 {
		fmt.Fprintf(os.Stderr, "registries are left out: they need root, docker-registry, skopeo and podman (%v)\n", err)
		return nil
	}
	address, end, err := h.registry()
	if err != nil {
		return err
	}
	defer end()
	place := address + "/bench:" + d.program
	if _, err := h.time(h.hashpkg, "--root", d.root, "push", "-q", "--plain-http", place, d.program); err != nil {
		return err
	}
	image := address + "/image:" + d.program
	cache, err := h.fresh("image-cache")
	if err != nil {
		return err
	}
	if _, err := h.time(h.hashpkg, "--root", d.root, "image", "-q", "--cache", cache, "--from", d.mirror.suite, "--with", "documentation,translations", d.program, "--plain-http", "-o", "docker://"+image); err != nil {
		return err
	}
	run, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(run)) }()
	peers := d.imagePeers(h, image, run)
	pulls := []contender{
		{"files verified, in the cache", func() (measure, error) {
			return d.bring(h, "pull", "--plain-http", place, "--then", "nothing")
		}},
		{"installed", func() (measure, error) { return d.bring(h, "pull", "--plain-http", place) }},
	}
	results, err := h.compare(append(pulls, peers...)...)
	if err != nil {
		return err
	}
	for i, pull := range pulls {
		h.add(fmt.Sprintf("pull %s by loopback, %s", d.program, pull.name), seconds(results[i].wall), "", "")
		for j, peer := range peers {
			target := ""
			if unpacks := j >= 2; unpacks == (i == 1) {
				target = "at most 0.6"
			}
			h.add("  to "+peer.name, ratio(results[i], results[len(pulls)+j]), seconds(results[len(pulls)+j].wall), target)
		}
		h.add("  peak memory", fmt.Sprintf("%d MB", results[i].memory/1e6), "", "")
	}
	return h.byLink("pull "+d.program, "at most 1.2", address, func(address string) (measure, error) {
		return d.bring(h, "pull", "--plain-http", address+"/bench:"+d.program, "--then", "nothing")
	})
}

// imagePeers are the programs that bring an image. The first two only copy its layers, the others unpack them: by
// overlayfs, for the driver without it copies for each of up to 100 layers all that is below.
// run is an empty directory, whose path podman wants to be short.
func (d *distribution) imagePeers(h *harness, image, run string) []contender {
	in := func(name string, args func(dir string) []string) contender {
		return contender{name, func() (measure, error) {
			dir, err := h.fresh("image")
			if err != nil {
				return measure{}, err
			}
			command := args(dir)
			m, err := h.time(command[0], command[1:]...)
			for _, mounted := range []string{"/s/overlay", "/s"} { // as storage leaves them
				if uerr := unix.Unmount(dir+mounted, unix.MNT_DETACH); uerr != nil && !errors.Is(uerr, unix.EINVAL) && !errors.Is(uerr, unix.ENOENT) {
					err = errors.Join(err, uerr)
				}
			}
			return m, err
		}}
	}
	skopeo := func(to string) func(string) []string {
		return func(dir string) []string {
			return []string{"skopeo", "copy", "-q", "--src-tls-verify=false", "docker://" + image, strings.ReplaceAll(to, "DIR", dir)}
		}
	}
	return []contender{
		in("skopeo copy to dir:", skopeo("dir:DIR/d")),
		in("skopeo copy to oci:", skopeo("oci:DIR/d:x")),
		in("skopeo copy to containers-storage:", skopeo("containers-storage:[overlay@DIR/s+DIR/r]x:1")),
		in("podman pull", func(dir string) []string {
			return []string{"podman", "--root", dir + "/s", "--runroot", run, "--storage-driver", "overlay", "pull", "-q", "--tls-verify=false", image}
		}),
	}
}

func needPrograms(names ...string) error {
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			return err
		}
	}
	return nil
}

// registry starts Debian's docker-registry, and returns its address and what ends it.
func (h *harness) registry() (address string, end func(), err error) {
	if address, err = h.freeAddress(); err != nil {
		return "", nil, err
	}
	dir, err := h.fresh("registry")
	if err != nil {
		return "", nil, err
	}
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s/data}}\nhttp: {addr: %s}\n", dir, address)
	if err := writeBelow(dir, "config.yml", []byte(config)); err != nil {
		return "", nil, err
	}
	end, err = h.start(answers(address), "docker-registry", "serve", filepath.Join(dir, "config.yml"))
	return address, end, err
}

// byNix copies the same files by nix from a binary cache, in which each package is a path of the store, with nix's
// fastest compression.
func (d *distribution) byNix(h *harness) error {
	if err := needPrograms("nix", "nix-store"); err != nil {
		fmt.Fprintf(os.Stderr, "nix is left out: %v\n", err)
		return nil
	}
	from, err := h.newNix()
	if err != nil {
		return err
	}
	trees, err := filepath.Glob(filepath.Join(d.root, "var/sys/*/*/usr"))
	if err != nil {
		return err
	}
	var paths []string
	for _, tree := range trees {
		if info, err := os.Lstat(filepath.Dir(tree)); err != nil || info.Mode()&fs.ModeSymlink != 0 {
			continue // default
		}
		out, err := exec.CommandContext(h.ctx, "env", from.command("nix-store", "--add", tree)...).Output()
		if err != nil {
			return fmt.Errorf("nix-store --add %s: %w", tree, err)
		}
		paths = append(paths, strings.TrimSpace(string(out)))
	}
	cache := filepath.Join(from.dir, "cache")
	if _, err := h.time("env", from.command("nix", append([]string{"copy", "--to", "file://" + cache + "?compression=zstd"}, paths...)...)...); err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(h.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.FileServer(http.Dir(cache))}
	go server.Serve(listener) //nolint:errcheck // it ends when it is closed
	defer server.Close()
	return h.byLink(fmt.Sprintf("nix copy of the same %d packages", len(paths)), "", listener.Addr().String(), func(address string) (measure, error) {
		to, err := h.newNix()
		if err != nil {
			return measure{}, err
		}
		return h.time("env", to.command("nix", append([]string{"copy", "--no-check-sigs", "--from", "http://" + address}, paths...)...)...)
	})
}

// nix is a store of nix's for itself. All of them have the same paths, each in a root of its own.
type nix struct{ dir string }

func (h *harness) newNix() (*nix, error) {
	dir, err := h.fresh("nix")
	if err != nil {
		return nil, err
	}
	return &nix{dir}, writeBelow(dir, "etc/nix.conf", []byte("build-users-group =\nexperimental-features = nix-command\n"))
}

// command returns what env runs: a program of nix on the store.
func (n *nix) command(name string, args ...string) []string {
	return append([]string{"NIX_CONF_DIR=" + n.dir + "/etc", "NIX_REMOTE=local?root=" + n.dir, "HOME=" + n.dir, name}, args...)
}
