package transaction

import (
	"context"
	"errors"
	"io/fs"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// keysFor returns, by format, the keys that may sign files: those that somebody gave,
// or those that the root's package managers trust.
func keysFor(ctx context.Context, o InstallOptions, files []packageFile) (keys map[pkginfo.Format]*trust.Keyring, warnings []string, err error) {
	keys = map[pkginfo.Format]*trust.Keyring{}
	for _, file := range files {
		name := file.format.Name()
		if _, ok := keys[name]; ok || o.Signature == trust.Off {
			continue
		}
		if keys[name] = o.Keyring; o.Keyring.Len() > 0 {
			continue
		}
		if _, ok := file.format.(backends.Prover); ok {
			continue // its packages carry no signatures: see prove
		}
		found, more, err := file.format.RootKeys(ctx, o.Root)
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return nil, nil, err
		}
		keys[name] = found
		warnings = append(warnings, more...)
	}
	return keys, warnings, nil
}

// checkSignatures proves those packages of a command whose formats carry no
// signatures, sets in their manifests what that came to, and applies the policy to
// all. It returns the warnings that the policy asks for.
func checkSignatures(ctx context.Context, o InstallOptions, staged []*stagedPackage) (warnings []string, err error) {
	rules := trust.Rules{Policy: o.Signature, KeysGiven: o.Keyring.Len() > 0, IndexGiven: o.Index != ""}
	if rules.Policy == trust.Off {
		return nil, nil
	}
	differs := map[*stagedPackage]bool{}
	more, err := prove(ctx, o, staged, differs)
	if err != nil {
		return nil, err
	}
	for _, p := range staged {
		if p.proof.Verdict.Stronger(p.manifest.Package.Verdict) {
			p.manifest.Package.Signature = p.proof
		}
		_, byIndex := p.format.(backends.Prover)
		rules := rules
		rules.KeysGiven = rules.KeysGiven || p.hasKeys
		warning, err := rules.Check(p.manifest.Package.File, trust.Evidence{
			Signature: p.manifest.Package.Signature, ByIndex: byIndex, Differs: differs[p],
		})
		if err != nil {
			return nil, err
		}
		if warning != "" {
			warnings = append(warnings, warning)
		}
	}
	return append(warnings, more...), nil
}

func prove(ctx context.Context, o InstallOptions, staged []*stagedPackage, differs map[*stagedPackage]bool) (warnings []string, err error) {
	for _, format := range o.Root.Formats() {
		prover, ok := format.(backends.Prover)
		if !ok {
			continue
		}
		request := backends.ProofRequest{Index: o.Index, Now: o.Now}
		if o.Keyring.Len() > 0 {
			request.Keys = o.Keyring
		}
		var of []*stagedPackage
		for _, p := range staged {
			if m := p.manifest; m.Format == format.Name() && p.proof.Verdict == "" {
				of = append(of, p)
				request.Files = append(request.Files, backends.PackageFile{
					Name: m.Name, Version: m.Version, Architecture: m.Architecture, Size: m.Package.Size, Sum: p.sum,
				})
			}
		}
		if len(of) == 0 {
			continue
		}
		proofs, more, err := prover.Prove(ctx, o.Root, request)
		if err != nil {
			return nil, err
		}
		warnings = append(warnings, more...)
		for i, proof := range proofs {
			of[i].manifest.Package.Signature = proof.Signature
			differs[of[i]] = proof.Differs
		}
	}
	return warnings, nil
}
