package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/closure/notes"
	"github.com/hashpkg/hashpkg/internal/advice"
)

func newKeyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make keys that sign closure manifests, and show them",
		Long: `Make keys that sign closure manifests (hashpkg manifest sign), and show their public
keys, which others put into their settings:

  [manifests]
  keys = ["NAME+HASH+KEY"]

The keys are of ed25519, in the form of the Go checksum database's notes.`,
		Example: `  # Make a key, and print its public key
  hashpkg key generate -o release.key --name release.example.org
  # Sign a manifest with it
  hashpkg manifest sign jq.closure --key release.key`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var output, name string
	generate := &cobra.Command{
		Use:   "generate -o FILE",
		Short: "Make a key, and print its public key",
		Long: `Make a key that signs, and print its public key. The file is for its owner only, and
a file that is there is never replaced.`,
		Example: `  # Make a key
  hashpkg key generate -o release.key --name release.example.org`,
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return runKeyGenerate(a, output, name) },
	}
	generate.Flags().StringVarP(&output, "output", "o", "", "write the key to `FILE`")
	generate.Flags().StringVar(&name, "name", "", "have people know the key by `NAME`, without spaces and plus signs (default: this host's name)")
	show := &cobra.Command{
		Use:   "show FILE",
		Short: "Print the public key of a key",
		Long:  `Print the public key of the key in a file, as settings and --key have it.`,
		Example: `  # Print it
  hashpkg key show release.key`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, given []string) error { return runKeyShow(a, given[0]) },
	}
	show.ValidArgsFunction = a.complete(nothing, orFiles)
	cmd.AddCommand(generate, show)
	return cmd
}

// keyOutput is what key generate and key show print with --json.
type keyOutput struct {
	File   string `json:"file"`
	Name   string `json:"name"`
	Public string `json:"public"`
}

func runKeyGenerate(a *app, output, name string) (err error) {
	if output == "" {
		return usageError{errors.New("key generate: say where to with -o FILE")}
	}
	if name == "" {
		if name, err = os.Hostname(); err != nil {
			return fmt.Errorf("name the key: %w", err)
		}
	}
	secret, err := notes.Generate(name)
	if err != nil {
		return usageError{err}
	}
	f, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return advice.Errorf("write key: %s is there already, and is not replaced; name another file", output)
	}
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	_, err = f.WriteString(secret + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil { // a part of a key is none
		return errors.Join(fmt.Errorf("write key: %w", err), os.Remove(output))
	}
	return runKeyShow(a, output)
}

func runKeyShow(a *app, file string) error {
	k, err := readKey(file)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(keyOutput{file, k.Name(), k.Public()})
	}
	return a.printf("%s\n", k.Public())
}

// maxKey bounds the file of a key.
const maxKey = 4 << 10

// signingFlag is the flag for files of keys that sign what is written.
func signingFlag(f *pflag.FlagSet, to *[]string) {
	f.StringArrayVar(to, "sign-with", nil, "sign it with the key in `FILE` (may be repeated)")
}

func readKeys(files []string) ([]*notes.Key, error) {
	keys := make([]*notes.Key, len(files))
	for i, f := range files {
		k, err := readKey(f)
		if err != nil {
			return nil, err
		}
		keys[i] = k
	}
	return keys, nil
}

func readKey(file string) (*notes.Key, error) {
	b, err := readUpTo(file, maxKey)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	k, err := notes.ParseKey(b)
	if err != nil {
		return nil, advice.Errorf("read key %s: %w; hashpkg key generate makes one", file, err)
	}
	return k, nil
}

func newManifestSignCommand(a *app) *cobra.Command {
	var keys []string
	cmd := &cobra.Command{
		Use:   "sign FILE --key KEYFILE",
		Short: "Sign a closure manifest",
		Long: `Sign a closure manifest: its note, FILE.note, is made, or gets one more signature. Where
the note is of an earlier manifest, it is made anew, with a later date. Whoever is given
the manifest is given the note, too.`,
		Example: `  # Sign it
  hashpkg manifest sign jq.closure --key release.key
  # Add the signature of another
  hashpkg manifest sign jq.closure --key second.key`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, given []string) error { return runManifestSign(a, given[0], keys) },
	}
	cmd.ValidArgsFunction = a.complete(nothing, orFiles)
	cmd.Flags().StringArrayVar(&keys, "key", nil, "sign with the key in `FILE` (may be repeated; hashpkg key generate makes one)")
	return cmd
}

// signOutput is what manifest sign prints with --json.
type signOutput struct {
	File    string   `json:"file"` // of the note
	BLAKE3  string   `json:"blake3"`
	Date    string   `json:"date"`
	Signers []string `json:"signers"` // all whose signatures the note has
}

var closureNote = output{"note", "hashpkg.closure.note"}

func runManifestSign(a *app, file string, keyFiles []string) error {
	if len(keyFiles) == 0 {
		return usageError{errors.New("manifest sign: name the file of a key with --key")}
	}
	keys, err := readKeys(keyFiles)
	if err != nil {
		return err
	}
	now, err := a.now()
	if err != nil {
		return err
	}
	text, err := readUpTo(file, closure.MaxSize)
	if err != nil {
		return fmt.Errorf("read closure manifest: %w", err)
	}
	old, err := readUpTo(file+notes.Suffix, notes.MaxSize)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read note: %w", err)
	}
	note, err := notes.Sign(text, old, now, keys...)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := closureNote.write(file+notes.Suffix, "hashpkg manifest sign", note); err != nil {
		return err
	}
	s, signers, err := notes.Read(note)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(signOutput{file + notes.Suffix, s.BLAKE3.String(), s.Date.Format("2006-01-02T15:04:05Z"), signers})
	}
	for _, k := range keys {
		if err := a.printf("%s is signed by %s\n", file, k.Name()); err != nil {
			return err
		}
	}
	return nil
}
