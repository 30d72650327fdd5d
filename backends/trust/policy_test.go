package trust_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// TestCheck has a line for every decision of a policy.
func TestCheck(t *testing.T) {
	const taken, told, refused = "taken", "told", "refused"
	verdict := func(v pkginfo.Verdict) trust.Evidence {
		return trust.Evidence{Signature: pkginfo.Signature{Verdict: v}}
	}
	unproved := trust.Evidence{Signature: pkginfo.Signature{Verdict: pkginfo.Unsigned}, ByIndex: true}
	differs := unproved
	differs.Differs = true
	rules := func(p trust.Policy) trust.Rules { return trust.Rules{Policy: p} }
	withKeys, withIndex := trust.Rules{KeysGiven: true}, trust.Rules{IndexGiven: true}
	for _, tc := range []struct {
		rules    trust.Rules
		evidence trust.Evidence
		want     string
		says     string
	}{
		{rules(trust.ByKeys), verdict(pkginfo.Good), taken, ""},
		{rules(trust.ByKeys), verdict(pkginfo.Unsigned), told, "carries no signature"},
		{rules(trust.ByKeys), verdict(pkginfo.NoKey), told, "--keyring"},
		{rules(trust.ByKeys), verdict(pkginfo.Unsupported), told, "cannot verify"},
		{rules(trust.ByKeys), verdict(pkginfo.Bad), refused, "altered"},
		{rules(trust.ByKeys), unproved, taken, ""},
		{rules(trust.ByKeys), differs, told, "is not the package"},
		{withKeys, verdict(pkginfo.Good), taken, ""},
		{withKeys, verdict(pkginfo.Unsigned), refused, "carries no signature"},
		{withKeys, verdict(pkginfo.NoKey), refused, "--keyring"},
		{withKeys, unproved, taken, ""},
		{withKeys, differs, told, ""},
		{withIndex, verdict(pkginfo.Unsigned), told, ""},
		{withIndex, unproved, told, "--index"},
		{rules(trust.Warn), verdict(pkginfo.Unsigned), told, ""},
		{rules(trust.Warn), verdict(pkginfo.Bad), refused, ""},
		{rules(trust.Warn), unproved, told, ""},
		{trust.Rules{Policy: trust.Warn, KeysGiven: true}, verdict(pkginfo.Unsigned), told, ""},
		{rules(trust.Require), verdict(pkginfo.Good), taken, ""},
		{rules(trust.Require), verdict(pkginfo.Unsupported), refused, ""},
		{rules(trust.Require), unproved, refused, "in no signed index"},
		{rules(trust.Off), verdict(pkginfo.Bad), taken, ""},
		{rules(trust.Off), differs, taken, ""},
		{rules(trust.ByKeys), trust.Evidence{}, told, "carries no signature"}, // nobody has looked
	} {
		warning, err := tc.rules.Check("x.pkg", tc.evidence)
		got, text := taken, warning
		switch {
		case errors.Is(err, trust.ErrSignature):
			got, text = refused, err.Error()
		case err != nil:
			t.Errorf("%v", err)
		case warning != "":
			got = told
		}
		if got != tc.want || !strings.Contains(text, tc.says) || text != "" && !strings.Contains(text, "x.pkg") {
			t.Errorf("%+v, %+v: %s (%s), want %s", tc.rules, tc.evidence, got, text, tc.want)
		}
	}
}

func TestParsePolicy(t *testing.T) {
	for _, name := range []string{"", "require", "warn", "off"} {
		if p, err := trust.ParsePolicy(name); err != nil || string(p) != name {
			t.Errorf("%q: %q, %v", name, p, err)
		}
	}
	if p, err := trust.ParsePolicy("Off"); err == nil {
		t.Errorf("%q", p)
	}
}
