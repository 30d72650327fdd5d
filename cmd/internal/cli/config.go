package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
)

// configFile is the settings of a root.
const configFile = "/etc/hashpkg.toml"

// maxConfig bounds the settings.
const maxConfig = 1 << 20

// config is what the file may hold.
type config struct {
	Prefix  string        `toml:"prefix"`
	Rewrite rewriteConfig `toml:"rewrite"`
	Limits  limitsConfig  `toml:"limits"`
	GC      gcConfig      `toml:"gc"`
	Log     logConfig     `toml:"log"`
	// Mirrors are addresses of mirrors by release; "default" for all others.
	Mirrors map[string]string `toml:"mirrors"`
	// Manifests says whose closure manifests are taken.
	Manifests manifestsConfig `toml:"manifests"`
}

// manifestsConfig is who may sign closure manifests.
type manifestsConfig struct {
	Keys      []string     `toml:"keys"`      // public keys, see package notes
	Threshold int          `toml:"threshold"` // how many of them have to sign; 0 for 1
	Signature trust.Policy `toml:"signature"` // "" for [trust.ByKeys]
}

// limitsConfig is how much of a package is too much.
type limitsConfig struct {
	MaxSize string `toml:"max-size"` // a size, see parseSize; "" for the default
}

// rewriteConfig is what sync does to executables.
type rewriteConfig struct {
	Executables programs.RewritePolicy `toml:"executables"`
	Include     []string               `toml:"include"`
	Exclude     []string               `toml:"exclude"`
	MaxSize     string                 `toml:"max-size"` // a size, see parseSize; "" for the default
}

// newSettingsTopic returns the help page of the settings, which is not a command.
func newSettingsTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "settings",
		Short: "What " + configFile + " may say",
		Long: `The settings of a root are in its /etc/hashpkg.toml, and those of a user in
~/.config/hashpkg.toml, which go before them. Each has a default, and so has the
file as a whole. A setting that hashpkg does not know is an error. XDG_CONFIG_HOME
is heeded.

The environment variables HASHPKG_ROOT and HASHPKG_PREFIX say what --root and --prefix
say, as absolute paths. An option goes before a variable, and a variable before the
files. HASHPKG_PREFIX and a user's file say nothing of another root that --root names,
and what package managers call heeds neither variable.

  prefix = "/var/sys"         # where trees are, as programs see it

  [rewrite]
  executables = "minimal"     # "minimal" puts into DT_RUNPATH the directories
                              # that can answer; "full" those of the version,
                              # of the default and of current-system; "none"
                              # gives executables their packaged bytes back
  include = ["/usr/bin"]      # patterns; with them, only those are edited
  exclude = ["/usr/sbin/*"]   # patterns that are left alone
  max-size = "2G"             # programs and libraries that have more are left

  [limits]
  max-size = "64G"            # a package that unpacks to more is refused

  [gc]                        # see hashpkg help gc
  keep = 5                    # generations
  keep-versions = 2           # of each package, that were replaced last,
  keep-since = "30d"          # for so long
  older-than = "0"            # and whatever left less long ago

  [log]                       # of what changed programs: by whom, by which command
  to = "journal"              # "journal", where systemd's is there, "none", or
                              # the path of a file: /var/log/hashpkg.log

  [mirrors]                   # of releases that no file of sources names
  trixie = "http://mirror.example.org/debian"

  [manifests]                 # that hashpkg fetch takes
  keys = ["NAME+HASH+KEY"]    # who may sign them: see hashpkg help key
  threshold = 1               # of how many of these a signature is needed
  signature = "require"       # "warn" takes others as well, and says so; "off"
                              # takes all. Without keys it is "warn"

A change takes effect at the next hashpkg sync. Before prefix is changed, run
hashpkg restore --all: edited programs would go on searching the old one.

journalctl SYSLOG_IDENTIFIER=hashpkg shows the log, and journalctl
HASHPKG_PROGRAM=/usr/bin/curl, or HASHPKG_PACKAGE=curl, what concerns one. A file
has a JSON value a line: docs/json.md. What is done in an image, or in a root
that is not the machine's own, is in no journal.`,
	}
}

// readConfig reads the settings of the root that the flags name. What they do not
// say has its default; what is not known is an error, for it is likely to be meant.
func (a *app) readConfig() (config, error) {
	c := config{Prefix: layout.DefaultPrefix, Rewrite: rewriteConfig{Executables: programs.RewriteMinimal}}
	if err := a.readEnvironment(); err != nil {
		return c, err
	}
	r, err := sysroot.Open(a.root, layout.DefaultPrefix, a.Formats)
	if err != nil {
		return c, usageError{err}
	}
	defer r.Close()
	b, err := r.ReadFile(configFile, maxConfig)
	if err == nil {
		err = c.decode(filepath.Join(r.Dir(), configFile), b)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("read settings: %w", err)
	}
	file := a.userConfig()
	if file == "" || !r.IsHost() {
		return c, nil
	}
	b, err = os.ReadFile(file)
	if err == nil {
		err = c.decode(file, b)
	}
	// Who became another user may still have the first one's HOME.
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return c, fmt.Errorf("read settings: %w", err)
	}
	return c, nil
}

// userConfig returns the settings of a user, which go before those of the machine; ""
// for root, who has the machine's.
func (a *app) userConfig() string {
	if os.Geteuid() == 0 {
		return ""
	}
	dir := a.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		if dir = a.Getenv("HOME"); dir != "" {
			dir = filepath.Join(dir, ".config")
		}
	}
	if !filepath.IsAbs(dir) {
		return ""
	}
	return filepath.Join(dir, "hashpkg.toml")
}

// decode reads settings over those that there are.
func (c *config) decode(file string, b []byte) error {
	if len(b) > maxConfig {
		return fmt.Errorf("%s: it has %d bytes, and at most %d are read", file, len(b), maxConfig)
	}
	d := toml.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		var unknown *toml.StrictMissingError
		if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
			return advice.Errorf("%s: %q is not a setting that hashpkg knows; see hashpkg help settings", file, strings.Join(unknown.Errors[0].Key(), "."))
		}
		return wrongTOML(file, err)
	}
	if _, err := c.Limits.maxSize(); err != nil {
		return fmt.Errorf("%s: max-size = %w", file, err)
	}
	if _, err := c.Rewrite.maxSize(); err != nil {
		return fmt.Errorf("%s: [rewrite] max-size = %w", file, err)
	}
	if _, err := c.GC.options(); err != nil {
		return fmt.Errorf("%s: [gc] %w", file, err)
	}
	if err := c.Log.check(file); err != nil {
		return err
	}
	if _, err := c.Manifests.rules(); err != nil {
		return fmt.Errorf("%s: [manifests] %w", file, err)
	}
	return c.Rewrite.check(file)
}

// wrongTOML is the error of settings that are no TOML, or have a value of another kind, without the words
// of the decoder for Go's types.
func wrongTOML(file string, err error) error {
	var wrong *toml.DecodeError
	if !errors.As(err, &wrong) {
		return fmt.Errorf("%s: %w", file, err)
	}
	line, _ := wrong.Position()
	what := strings.TrimPrefix(wrong.Error(), "toml: ")
	if kind, is := strings.CutPrefix(what, "cannot decode TOML "); is {
		kind, _, _ = strings.Cut(kind, " ")
		what = "a value of this kind (" + kind + ") cannot be here"
		if key := strings.Join(wrong.Key(), "."); key != "" {
			what = fmt.Sprintf("%q cannot have a value of this kind (%s)", key, kind)
		}
	}
	return advice.Errorf("%s: line %d: %s; see hashpkg help settings", file, line, what)
}

func (c *rewriteConfig) check(file string) error {
	switch c.Executables {
	case programs.RewriteMinimal, programs.RewriteFull, programs.RewriteNone:
	default:
		return fmt.Errorf("%s: executables = %q: expected \"minimal\", \"full\" or \"none\"", file, c.Executables)
	}
	for _, patterns := range [][]string{c.Include, c.Exclude} {
		for _, p := range patterns {
			if _, err := path.Match(p, "/"); err != nil || !path.IsAbs(p) {
				return fmt.Errorf("%s: %q is not a pattern for an absolute path", file, p)
			}
		}
	}
	return nil
}

// maxSize returns the setting in bytes; 0 for the default.
func (c *limitsConfig) maxSize() (int64, error) { return sizeOrDefault(c.MaxSize) }

// maxSize returns the setting in bytes; 0 for the default.
func (c *rewriteConfig) maxSize() (int64, error) { return sizeOrDefault(c.MaxSize) }

func sizeOrDefault(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	return parseSize(text)
}

// parseSize reads a size in bytes, with one of the letters K, M, G and T after it in
// units of 1024 to the power of 1 to 4. None is a size of its own: 0 is refused.
func parseSize(text string) (int64, error) {
	digits, shift := text, 0
	if i := strings.IndexAny(text, "KMGT"); i >= 0 && i == len(text)-1 {
		digits, shift = text[:i], 10*(1+strings.IndexByte("KMGT", text[i]))
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n == 0 || n > 1<<62>>shift {
		return 0, fmt.Errorf("%q: expected a number of bytes, or one with K, M, G or T, such as 64G", text)
	}
	return int64(n) << shift, nil
}

// rewrite returns the policy for executables.
func (c *config) rewrite() programs.Rewrite {
	maxSize, _ := c.Rewrite.maxSize() // readConfig has refused what is no size
	return programs.Rewrite{Executables: c.Rewrite.Executables, Include: c.Rewrite.Include, Exclude: c.Rewrite.Exclude, MaxSize: maxSize}
}

// findPrefix returns the prefix: the flag's, the root's own setting, or the
// default.
func (a *app) findPrefix() (string, error) {
	if a.prefix != "" {
		return a.prefix, nil
	}
	c, err := a.readConfig()
	return c.Prefix, err
}
