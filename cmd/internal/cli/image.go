package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/images"
	"github.com/hashpkg/hashpkg/images/assemble"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/repo"
	"github.com/hashpkg/hashpkg/sysroot"
)

type imageOptions struct {
	sourceFlags
	output, locked, lock, cache string
	architectures, with         []string
	entrypoint, cmd, env        []string
	ports, labels               []string
	user, workdir               string
	signature, maxSize          string
	diff, plainHTTP, prelocate  bool
	noIndexes                   bool
}

// The words of --with.
const (
	withCertificates  = "ca-certificates"
	withDocumentation = "documentation"
	withShell         = "shell"
	withTranslations  = "translations"
	withUtilities     = "utilities"
	withZones         = "tzdata"
)

func newImageCommand(a *app) *cobra.Command {
	var o imageOptions
	cmd := &cobra.Command{
		Use:   "image NAME... -o PLACE | image --locked FILE -o PLACE | image --diff PLACE PLACE",
		Short: "Make an OCI image of packages, without a base image",
		Long: `Make an OCI image of packages and all that they need, without a base image: nothing is
run, and the machine's own root and prefix are not touched. A package is named as for
hashpkg install, and comes from the release that --from names, or from the machine's own.

The image is written to a PLACE, by the names that containers' tools have for them:

  oci:DIR[:NAME]                        an OCI image layout
  oci-archive:FILE[:NAME]               the same as one file
  docker-archive:FILE[:NAME:TAG]        what docker load reads
  dir:DIR                               manifest and layers, as skopeo has them
  docker://REGISTRY/REPOSITORY[:TAG]    a registry, with the login of podman or docker
  erofs:FILE                            a file system to mount, made by mkfs.erofs

The same packages give the same image, byte by byte, on every machine. The time of the
image is SOURCE_DATE_EPOCH, else 1970. Each package is a layer, which is the same in
every image that has it; beyond 99, the smallest share one. A registry gets the layers
that it has not.

A directory is replaced only if it has an image of the same form and tag, and nothing
else. The cache may not be one that others can write to.

The files of packages stand at their own paths, in /usr and /etc, and programs are bound
as by hashpkg install, so that /var/sys is in the image, too. Accounts that scripts would
make are in /etc/passwd. Not there, unless --with has the word:

  ca-certificates   the certificates of authorities, for TLS
  tzdata            time zones
  shell             /bin/sh, which scripts and system(3) call
  utilities         the same, and the programs that scripts call: cp, sed, grep, find, awk
  documentation     manual pages and the like
  translations      messages in other languages

With several words for --arch it is an index with an image for each, made without running
anything of another architecture. --lock writes down which packages it became, and
--locked makes an image of these: the same, if --cmd, --env and the like are given again.
What shell, utilities and tzdata of --with bring is in the lock file already. --diff says
what changed between two images, by package. The history, labels and /var/lib/db/sbom of
an image say what is in it.`,
		Example: `  # An image with jq, and nothing else
  hashpkg image --from trixie jq -o oci:./jq
  # A web client with certificates, for two architectures, to a registry
  hashpkg image --from trixie curl --with ca-certificates --arch amd64,arm64 -o docker://localhost:5000/curl:8
  # What a container of it runs
  hashpkg image --from trixie python3-flask --entrypoint python3 --cmd app.py --workdir /app --port 8080 -o docker-archive:app.tar
  # The same image again, on another machine
  hashpkg image --from trixie jq --lock jq.lock -o oci:./jq
  hashpkg image --locked jq.lock -o oci:./same
  # What changed, by package
  hashpkg image --diff oci:./jq docker://registry.example.org/jq:latest`,
		Args: args(func(c *cobra.Command, given []string) error {
			switch {
			case o.diff:
				return cobra.ExactArgs(2)(c, given)
			case o.locked != "":
				return cobra.NoArgs(c, given)
			}
			return cobra.MinimumNArgs(1)(c, given)
		}),
		RunE: func(c *cobra.Command, given []string) error {
			if o.diff {
				return runImageDiff(c.Context(), a, o, given)
			}
			return runImage(c.Context(), a, o, given)
		},
	}
	o.sourceFlags.add(a, cmd)
	cmd.ValidArgsFunction = a.complete(a.availableNames(cmd, &o.sourceFlags), noFiles)
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "write the image to `PLACE`")
	f.StringSliceVar(&o.architectures, "arch", nil, "make it for `ARCH`, such as amd64,arm64 (default: the machine's)")
	f.StringSliceVar(&o.with, "with", nil, "have `WHAT` in it, too: ca-certificates, tzdata, shell, utilities, documentation, translations")
	f.StringArrayVar(&o.entrypoint, "entrypoint", nil, "run `PROGRAM` in containers, before what their command line has (repeated: its first arguments)")
	f.StringArrayVar(&o.cmd, "cmd", nil, "run `WORD` in containers whose command line has nothing (repeated: its arguments; default: the program that is called like the package)")
	f.StringArrayVar(&o.env, "env", nil, "set `NAME=VALUE` in containers (may be repeated)")
	f.StringVar(&o.user, "user", "", "run as `USER`, a name or number, or USER:GROUP")
	f.StringVar(&o.workdir, "workdir", "", "run in `DIR`")
	f.StringSliceVar(&o.ports, "port", nil, "say that containers listen on `PORT`, such as 8080 or 53/udp")
	f.StringArrayVar(&o.labels, "label", nil, "give the image the label `NAME=VALUE` (may be repeated)")
	f.StringVar(&o.lock, "lock", "", "write the lock `FILE` of what is in it")
	f.StringVar(&o.locked, "locked", "", "make it of what the lock `FILE` has")
	f.StringVar(&o.cache, "cache", "", "keep packages, indexes and layers in `DIR` (default: hashpkg/images in the user's cache)")
	f.BoolVar(&o.prelocate, "prelocate", false, "bind what packages have and ask for themselves for good, so that programs start faster; a layer may differ from image to image then")
	f.BoolVar(&o.noIndexes, "no-indexes", false, "run no program of a package to make the indexes that others look for")
	f.BoolVar(&o.plainHTTP, "plain-http", false, "speak to registries without TLS, which this machine's own always may")
	f.BoolVar(&o.diff, "diff", false, "say what changed from one image to another, by package")
	f.StringVar(&o.signature, "signature", "", "`POLICY` for packages without a good signature: require, warn or off (default: warn)")
	f.StringVar(&o.maxSize, "max-size", "", "refuse a package whose files have more than `SIZE` bytes, such as 500M or 64G, unpacked")
	words := func(words ...string) func(*sysroot.Root, []string, string) []string {
		return func(*sysroot.Root, []string, string) []string { return words }
	}
	a.completeFlag(cmd, "with", words(withCertificates, withDocumentation, withShell, withTranslations, withUtilities, withZones), noFiles)
	a.completeFlag(cmd, "arch", words("amd64", "arm64", "armhf", "i386", "ppc64el", "riscv64", "s390x", "loong64"), noFiles)
	a.completeFlag(cmd, "signature", policies, noFiles)
	for _, name := range []string{"from", "with", "arch", "lock", "locked", "output", "cmd", "entrypoint", "env", "label", "port", "user", "workdir", "prelocate", "no-indexes"} {
		cmd.MarkFlagsMutuallyExclusive("diff", name)
	}
	cmd.MarkFlagsMutuallyExclusive("locked", "lock")
	cmd.MarkFlagsMutuallyExclusive("locked", "from")
	return cmd
}

// imageOutput is what image prints with --json.
type imageOutput struct {
	Output  string      `json:"output"`
	Digest  string      `json:"digest"` // of the manifest or, of several architectures, the index
	Images  []imageMade `json:"images"`
	Layers  int         `json:"layers"`           // of all images, each once
	Size    int64       `json:"size"`             // of these, in bytes
	Sent    int64       `json:"sent"`             // to a registry, in bytes
	Verity  string      `json:"verity,omitempty"` // of a file system: what fs-verity measures of it
	Lacking []lacking   `json:"lacking"`
	Faults  []string    `json:"faults"` // indexes that could not be made, and why
}

type imageMade struct {
	Architecture string `json:"architecture"`
	Digest       string `json:"digest"`
	Packages     int    `json:"packages"`
}

// lacking is an interpreter that the image has not.
type lacking struct {
	Interpreter string   `json:"interpreter"`
	Packages    []string `json:"packages"` // with scripts that need it
}

func runImage(ctx context.Context, a *app, o imageOptions, given []string) error {
	if o.output == "" {
		return usageError{advice.Errorf("no place for the image; name one with -o, such as -o oci:./image")}
	}
	place, err := images.ParsePlace(o.output)
	if err != nil {
		return usageError{fmt.Errorf("-o %w", err)}
	}
	platforms, err := o.platforms()
	if err != nil {
		return err
	}
	if err := place.Check(ctx, len(platforms)); err != nil {
		return err
	}
	options, err := o.build(a)
	if err != nil {
		return err
	}
	for _, arg := range given {
		q, err := repo.ParseRequest(arg)
		if err != nil {
			return usageError{err}
		}
		options.Requests = append(options.Requests, q)
	}
	if len(platforms) > 1 && (o.lock != "" || o.locked != "") {
		return usageError{errors.New("a lock file is for one architecture; make the images of several one after another")}
	}
	if o.lock != "" {
		if err := lockFile.check(o.lock, "--lock"); err != nil {
			return err
		}
	}
	layers, err := images.OpenLayers(filepath.Join(options.Cache, "layers"))
	if err != nil {
		return err
	}
	defer layers.Close()
	progress := a.newProgress()
	options.Progress = progress.show
	defer progress.end()
	out := imageOutput{Output: place.String(), Images: []imageMade{}, Lacking: []lacking{}, Faults: []string{}}
	var all []v1.Image
	var lock *repo.LockFile
	for _, options.Platform = range platforms {
		result, err := assemble.Image(ctx, options, layers)
		if err != nil {
			progress.end()
			if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
				return advice.Errorf("%w; make room below %s, or name another directory with --cache", err, options.Cache)
			}
			return hintOfFile(err, options.Requests)
		}
		d, err := result.Image.Digest()
		if err != nil {
			return err
		}
		all, lock = append(all, result.Image), result.Lock
		out.Images = append(out.Images, imageMade{options.Platform.Architecture, d.String(), result.Packages})
		out.addLacking(result.Lacking)
		for _, f := range result.Faults {
			if !slices.Contains(out.Faults, f) {
				out.Faults = append(out.Faults, f)
			}
		}
	}
	var sent atomic.Int64
	end := progress.during("writing")
	d, err := place.Write(ctx, all, images.Access{PlainHTTP: o.plainHTTP, UserAgent: "hashpkg/" + Version, Sent: &sent, Layers: layers})
	end()
	progress.end()
	if err != nil {
		return err
	}
	if o.lock != "" {
		if err := writeLockFile(o.lock, "--lock", lock); err != nil {
			return err
		}
	}
	out.Digest, out.Sent = d.String(), sent.Load()
	if out.Size, out.Layers, err = images.Size(all); err != nil {
		return err
	}
	if place.Kind == images.KindErofs {
		if out.Verity, err = images.MeasureVerity(place.Path); err != nil {
			return err
		}
	}
	return a.printImage(place, &out)
}

// addLacking adds what an image lacks that no other of them does.
func (o *imageOutput) addLacking(found map[string][]string) {
	for _, interpreter := range slices.Sorted(maps.Keys(found)) {
		if !slices.ContainsFunc(o.Lacking, func(l lacking) bool { return l.Interpreter == interpreter }) {
			o.Lacking = append(o.Lacking, lacking{interpreter, found[interpreter]})
		}
	}
}

func (a *app) printImage(place images.Place, out *imageOutput) error {
	var err error
	switch {
	case a.json:
		err = a.printJSON(out)
	case !a.quiet:
		for _, i := range out.Images {
			if err := a.printf("%s: %s\n", i.Architecture, count(i.Packages, "package")); err != nil {
				return err
			}
		}
		sent := ""
		if place.Kind == images.KindRegistry {
			sent = ", " + humanSize(out.Sent) + " sent"
		}
		err = a.printf("%s: %s, %s%s\n%s\n", out.Output, count(out.Layers, "layer"), humanSize(out.Size), sent, out.Digest)
		if out.Verity != "" && err == nil {
			err = a.printf("fs-verity %s\n", out.Verity)
		}
	}
	for _, f := range out.Faults {
		a.notice("note: %s\n", f)
	}
	for _, l := range out.Lacking {
		what := "add a package that has it"
		if l.Interpreter == "/bin/sh" || l.Interpreter == "/usr/bin/sh" {
			what = "--with shell brings it"
		}
		a.notice("note: %s is not in the image, and scripts of %s need it: %s\n", l.Interpreter, someOf(l.Packages), what)
	}
	return err
}

// someOf returns the first of some names, and how many more there are.
func someOf(names []string) string {
	const shown = 5
	if len(names) > shown {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
	}
	return strings.Join(names, ", ")
}

// build returns what the flags say of an image.
func (o *imageOptions) build(a *app) (assemble.Options, error) {
	b := assemble.Options{From: o.from, Prelocate: o.prelocate, NoIndexes: o.noIndexes || !a.Generate, WriteLock: o.lock != "", Formats: a.Formats, Tool: version(), Lock: sysroot.LockOptions{Command: "hashpkg image", Cause: record.Cause{Command: "hashpkg image"}}}
	machine, err := a.openRoot()
	if err != nil {
		return b, err
	}
	b.Prefix = machine.Prefix()
	if b.Cache, err = a.imageCache(o.cache); err != nil {
		return b, err
	}
	if b.Created, err = a.imageTime(); err != nil {
		return b, err
	}
	if b.Signature, err = trust.ParsePolicy(o.signature); err != nil {
		return b, usageError{fmt.Errorf("--signature: %w", err)}
	}
	if b.MaxSize, err = a.maxSize(o.maxSize); err != nil {
		return b, err
	}
	for _, word := range o.with {
		switch word {
		case withCertificates:
			b.With.Certificates = true
		case withZones:
			b.With.TimeZones = true
		case withShell:
			b.With.Shell = true
		case withUtilities:
			b.With.Utilities = true
		case withDocumentation:
			b.With.Documentation = true
		case withTranslations:
			b.With.Translations = true
		default:
			return b, usageError{fmt.Errorf("--with %s: expected ca-certificates, tzdata, shell, utilities, documentation or translations", word)}
		}
	}
	b.Config = images.Config{Entrypoint: o.entrypoint, Cmd: o.cmd, Env: o.env, User: o.user, WorkingDir: o.workdir, Ports: o.ports, Labels: map[string]string{}}
	if err := b.Config.Check(); err != nil {
		return b, usageError{err}
	}
	for _, l := range o.labels {
		name, value, ok := strings.Cut(l, "=")
		if !ok || name == "" {
			return b, usageError{fmt.Errorf("--label %s: expected NAME=VALUE", l)}
		}
		b.Config.Labels[name] = value
	}
	for _, e := range o.env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return b, usageError{fmt.Errorf("--env %s: expected NAME=VALUE", e)}
		}
	}
	b.Open = func(root *sysroot.Root) (*repo.Repo, error) {
		r, err := a.openRepo(root, o.sourceFlags, b.Signature)
		if err == nil {
			r.Options.Sources = machine
			r.Now = time.Now() // whether an index has expired is no question of the image's time
		}
		return r, err
	}
	if o.locked != "" {
		if b.With.Shell || b.With.Utilities || b.With.TimeZones {
			return b, usageError{advice.Errorf("a lock file has all packages of its image, and --with shell, utilities and tzdata bring more; give these words when it is written, with --lock")}
		}
		text, err := os.ReadFile(o.locked)
		if err != nil {
			return b, fmt.Errorf("read lock file: %w", err)
		}
		if b.Locked, err = repo.ReadLockFile(o.locked, text); err != nil {
			return b, err
		}
		b.LockName = o.locked
	}
	return b, nil
}

// platforms returns what images are made for, sorted, each once.
func (o *imageOptions) platforms() ([]v1.Platform, error) {
	names := o.architectures
	if len(names) == 0 {
		names = []string{runtime.GOARCH}
	}
	var all []v1.Platform
	for _, name := range names {
		p, err := images.PlatformOf(name)
		if err != nil {
			return nil, usageError{err}
		}
		if !slices.ContainsFunc(all, func(o v1.Platform) bool { return o.Architecture == p.Architecture }) {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b v1.Platform) int { return strings.Compare(a.Architecture, b.Architecture) })
	return all, nil
}

// imageTime is the time that an image is stamped with: the epoch, unless somebody says another.
func (a *app) imageTime() (time.Time, error) {
	if a.isImage() {
		return a.now()
	}
	return time.Unix(0, 0).UTC(), nil
}

// imageCache returns the directory in which images keep what other images may need.
func (a *app) imageCache(flag string) (string, error) {
	dir := flag
	switch {
	case dir != "":
	case a.Getenv("XDG_CACHE_HOME") != "":
		dir = filepath.Join(a.Getenv("XDG_CACHE_HOME"), "hashpkg", "images")
	case a.Getenv("HOME") != "":
		dir = filepath.Join(a.Getenv("HOME"), ".cache", "hashpkg", "images")
	default:
		return "", usageError{advice.Errorf("nothing says where a cache may be; name a directory with --cache")}
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("--cache %s: %w", dir, err)
	}
	return abs, nil
}

// imageDiffOutput is what image --diff prints with --json.
type imageDiffOutput struct {
	From     string              `json:"from"` // digests
	To       string              `json:"to"`
	Packages []images.Difference `json:"packages"`
}

func runImageDiff(ctx context.Context, a *app, o imageOptions, given []string) error {
	var sides [2]*images.Contents
	for i, text := range given {
		place, err := images.ParsePlace(text)
		if err != nil {
			return usageError{err}
		}
		if sides[i], err = place.Read(ctx, images.Access{PlainHTTP: o.plainHTTP, UserAgent: "hashpkg/" + Version}); err != nil {
			return err
		}
	}
	out := imageDiffOutput{sides[0].Digest.String(), sides[1].Digest.String(), images.Diff(sides[0].Packages, sides[1].Packages)}
	if a.json {
		if out.Packages == nil {
			out.Packages = []images.Difference{}
		}
		return a.printJSON(out)
	}
	t := a.table()
	for _, d := range out.Packages {
		versions := d.From
		switch {
		case d.From == "":
			versions = d.To
		case d.To != "" && d.To != d.From:
			versions += " -> " + d.To
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", d.What, d.Name, d.Architecture, versions)
	}
	if len(out.Packages) == 0 {
		what := "the same packages, and another image (its configuration, or what is in no package)"
		if slices.Equal(sides[0].Configs, sides[1].Configs) {
			what = "the same image"
		}
		a.notice("%s\n", what)
	}
	return t.Flush()
}
