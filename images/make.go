package images

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// maxLayers is how many layers an image has at most. Runtimes stack some 127 of them (overlay2 of Docker).
const maxLayers = 100

// Config is how containers of an image run (OCI image configuration, "config").
type Config struct {
	Entrypoint, Cmd []string
	Env             []string // "NAME=VALUE"; PATH is there in any case
	User            string
	WorkingDir      string
	Ports           []string // "8080", "8080/tcp"
	Labels          map[string]string
}

// ports are the ports that images have (OCI image configuration, "ExposedPorts"), and those of SCTP.
var ports = regexp.MustCompile(`^([0-9]{1,5})(/(tcp|udp|sctp))?$`)

// Check returns an error for what no container can run as: the user, the directory and the ports.
func (c *Config) Check() error {
	user, group, hasGroup := strings.Cut(c.User, ":")
	if c.User != "" && (!isUser(user) || hasGroup && !isUser(group)) {
		return fmt.Errorf("--user %s: expected a name or number, or USER:GROUP", c.User)
	}
	if c.WorkingDir != "" && !path.IsAbs(c.WorkingDir) {
		return fmt.Errorf("--workdir %s: expected a path from the root of the image, such as /app", c.WorkingDir)
	}
	for _, port := range c.Ports {
		m := ports.FindStringSubmatch(port)
		if m == nil {
			return fmt.Errorf("--port %s: expected a number, or one with /tcp, /udp or /sctp", port)
		}
		if n, err := strconv.ParseUint(m[1], 10, 16); err != nil || n == 0 {
			return fmt.Errorf("--port %s: expected a number from 1 to 65535", port)
		}
	}
	return nil
}

// isUser reports whether a user or group is a name or a number.
func isUser(text string) bool {
	_, err := strconv.ParseUint(text, 10, 31)
	return err == nil || isAccount(text)
}

// defaultPath is PATH in containers.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Labels of images.
const (
	labelSBOM    = "org.hashpkg.sbom"    // where the bill of materials stands, in the image
	labelSources = "org.hashpkg.sources" // the releases that packages are from, with spaces between them
	labelAsked   = "org.hashpkg.asked"   // the packages that were named
)

// createdBy is how the history of an image names its layers.
const createdBy = "hashpkg image"

// Input is what an image is made of.
type Input struct {
	Prefix     string // of the trees, absolute
	Generation *record.Generation
	Manifests  []*record.Manifest // of the generation's trees, in the same order
	Objects    Objects
	Layers     *Layers
	Platform   v1.Platform
	Created    time.Time
	Keep
	Certificates bool   // of authorities, as the package ca-certificates has them
	SBOM         []byte // nil for none
	Config       Config
	// Generate, if not nil, returns the bytes of files that follow from those of trees, by their paths relative to the root.
	// The files of these trees stand at the paths of their packages.
	Generate func(context.Context, []*record.Manifest) (map[string][]byte, error)
	// Progress, if not nil, is called with how many layers are done of how many.
	Progress func(done, total int)
}

// Make returns an image. The same input gives the same image, on every machine.
func Make(ctx context.Context, in Input) (v1.Image, error) {
	trees := make([]*tree, len(in.Manifests))
	for i, m := range in.Manifests {
		t := &in.Generation.Trees[i]
		trees[i] = &tree{Manifest: m, isDefault: t.Default, asked: t.Asked}
	}
	p := place(in.Prefix, in.Keep, trees)
	groups := shareLayers(trees, maxLayers-1)
	layers := make([]*layer, len(groups)+1)
	var generated map[string][]byte
	if in.Generate != nil {
		var err error
		if generated, err = in.Generate(ctx, p.standing()); err != nil {
			return nil, err
		}
	}
	last, err := p.last(&in, generated)
	if err != nil {
		return nil, err
	}
	done := make(chan struct{}, len(layers))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for i := range layers {
		g.Go(func() (err error) {
			entries := last
			if i < len(groups) {
				entries = p.layerOf(groups[i])
			}
			layers[i], err = in.Layers.make(gctx, entries, in.Objects)
			done <- struct{}{}
			if in.Progress != nil {
				in.Progress(len(done), len(layers))
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return assemble(&in, trees, groups, layers)
}

// layerOf returns the entries of the layer of several trees, complete.
func (p *placed) layerOf(trees []*tree) []entry {
	if len(trees) == 1 {
		return p.layer(trees[0])
	}
	var all []entry
	has := map[string]bool{}
	for _, t := range trees {
		for _, e := range p.layer(t) {
			if !has[e.path] {
				has[e.path] = true
				all = append(all, e)
			}
		}
	}
	return complete(all, p.dirOf)
}

// shareLayers says which trees share a layer: where there are more than limit, those that are the least loss when they are
// in other images, too, by their size and how many others need them.
func shareLayers(trees []*tree, limit int) [][]*tree {
	order := slices.Clone(trees)
	users := map[string]int{}
	for _, t := range trees {
		for _, r := range t.Requires {
			for _, c := range r.Alternatives {
				users[c.Name]++
			}
		}
	}
	weight := func(t *tree) (n int64) {
		for i := range t.Files {
			n += t.Files[i].Size
		}
		return n * int64(1+users[t.Name])
	}
	slices.SortStableFunc(order, func(a, b *tree) int {
		return cmp.Or(cmp.Compare(weight(b), weight(a)), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Tree, b.Tree))
	})
	own := order[:min(len(order), limit)]
	var rest []*tree
	if len(order) > limit {
		own, rest = order[:limit-1], order[limit-1:]
	}
	byName := func(a, b *tree) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Tree, b.Tree)) }
	slices.SortFunc(own, byName)
	slices.SortFunc(rest, byName)
	var groups [][]*tree
	for _, t := range own {
		groups = append(groups, []*tree{t})
	}
	if len(rest) > 0 {
		groups = append(groups, rest)
	}
	return groups
}

// specs returns how the history of an image names the packages of a layer: NAME=VERSION:ARCHITECTURE, with
// spaces between them.
func specs(trees []*tree) string {
	var all []string
	for _, t := range trees {
		all = append(all, t.Name+"="+t.Version+":"+t.Architecture)
	}
	return strings.Join(all, " ")
}

// assemble puts an image together.
func assemble(in *Input, trees []*tree, groups [][]*tree, layers []*layer) (v1.Image, error) {
	created := v1.Time{Time: in.Created.UTC()}
	adds := make([]mutate.Addendum, len(layers))
	for i, l := range layers {
		comment := "farm, accounts, bill of materials"
		if i < len(groups) {
			comment = specs(groups[i])
		}
		adds[i] = mutate.Addendum{Layer: l, MediaType: types.OCILayer, History: v1.History{Created: created, CreatedBy: createdBy, Comment: comment}}
	}
	start := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.Append(start, adds...)
	if err != nil {
		return nil, fmt.Errorf("make image: %v", err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("make image: %v", err)
	}
	file = file.DeepCopy()
	file.Created, file.OS, file.Architecture, file.Variant = created, "linux", in.Platform.Architecture, in.Platform.Variant
	file.Config = configOf(in, trees)
	image, err = mutate.ConfigFile(image, file)
	if err != nil {
		return nil, fmt.Errorf("make image: %v", err)
	}
	return image, nil
}

// configOf returns how containers run.
func configOf(in *Input, trees []*tree) v1.Config {
	c := in.Config
	var asked []string
	releases := map[string]bool{}
	for i := range in.Generation.Trees {
		t := &in.Generation.Trees[i]
		for _, r := range strings.Fields(t.Release + " " + t.Others) {
			releases[r] = true
		}
		if t.Asked {
			asked = append(asked, t.Name)
		}
	}
	slices.Sort(asked)
	config := v1.Config{Entrypoint: c.Entrypoint, Cmd: c.Cmd, User: c.User, WorkingDir: c.WorkingDir}
	if len(config.Entrypoint)+len(config.Cmd) == 0 {
		config.Cmd = commandOf(in.Generation, trees)
	}
	if !slices.ContainsFunc(c.Env, func(e string) bool { return strings.HasPrefix(e, "PATH=") }) {
		config.Env = append(config.Env, "PATH="+defaultPath)
	}
	config.Env = append(config.Env, c.Env...)
	for _, port := range c.Ports {
		if config.ExposedPorts == nil {
			config.ExposedPorts = map[string]struct{}{}
		}
		if !strings.Contains(port, "/") {
			port += "/tcp"
		}
		config.ExposedPorts[port] = struct{}{}
	}
	config.Labels = map[string]string{labelSources: strings.Join(slices.Sorted(maps.Keys(releases)), " "), labelAsked: strings.Join(asked, " ")}
	if len(in.SBOM) > 0 {
		config.Labels[labelSBOM] = SBOMFile
	}
	maps.Copy(config.Labels, c.Labels)
	return config
}

// commandOf returns what a container runs where nobody says anything: the program that is called as the one package
// that was named, or its only one.
func commandOf(g *record.Generation, trees []*tree) []string {
	var asked *record.Tree
	var commands []string
	for i := range g.Trees {
		if !g.Trees[i].Asked {
			continue
		}
		if asked != nil {
			return nil
		}
		asked = &g.Trees[i]
		for _, l := range trees[i].Links {
			if below(l.Path, "bin") {
				commands = append(commands, strings.TrimPrefix(l.Path, "bin/"))
			}
		}
	}
	switch {
	case asked == nil:
	case slices.Contains(commands, asked.Name):
		return []string{"/usr/bin/" + asked.Name}
	case len(commands) == 1:
		return []string{"/usr/bin/" + commands[0]}
	}
	return nil
}

// platforms are the words that images have for architectures, and the variants (OCI image index, "platform").
var platforms = map[string]v1.Platform{
	"x86_64-linux-gnu":      {OS: "linux", Architecture: "amd64"},
	"aarch64-linux-gnu":     {OS: "linux", Architecture: "arm64"},
	"arm-linux-gnueabihf":   {OS: "linux", Architecture: "arm", Variant: "v7"},
	"i386-linux-gnu":        {OS: "linux", Architecture: "386"},
	"powerpc64le-linux-gnu": {OS: "linux", Architecture: "ppc64le"},
	"riscv64-linux-gnu":     {OS: "linux", Architecture: "riscv64"},
	"s390x-linux-gnu":       {OS: "linux", Architecture: "s390x"},
	"loongarch64-linux-gnu": {OS: "linux", Architecture: "loong64"},
}

// PlatformOf returns the platform of an architecture, which is named as dpkg or rpm do, or as images do.
func PlatformOf(architecture string) (v1.Platform, error) {
	if architecture == "386" {
		architecture = "i386"
	}
	triplet, _ := layout.Triplet(architecture)
	p, ok := platforms[triplet]
	if !ok {
		return p, fmt.Errorf("--arch %s: expected one of amd64, arm64, armhf, i386, ppc64el, riscv64, s390x, loong64", architecture)
	}
	return p, nil
}

// TripletOf is the way back.
func TripletOf(p v1.Platform) string {
	for triplet, o := range platforms {
		if o.Architecture == p.Architecture {
			return triplet
		}
	}
	return ""
}
