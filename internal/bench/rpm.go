package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

// rpmContent is what the built rpms hold: text, fonts and data of the machine,
// no programs, which hashpkg would edit and rpm2archive would not.
var rpmContent = []string{"/usr/include", "/usr/share/perl", "/usr/share/i18n"}

// benchRPM reads and stages rpms of each compression beside rpm2archive and tar,
// which unpack them and compare no digest. What an install does after that, which
// is to make it all durable and to switch, has a line of its own.
func benchRPM(h *harness) error {
	for _, tool := range []string{"rpmbuild", "rpm2archive"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w: apt-get install rpm", err)
		}
	}
	for _, c := range []struct{ name, payload, target string }{
		{"xz", "w2.xzdio", "at most 1.0"}, {"zstd", "w3.zstdio", "at most 1.2"}, {"gzip", "w6.gzdio", "at most 1.2"},
	} {
		rpm, err := h.buildRPM(c.name, c.payload)
		if err != nil {
			return err
		}
		info, err := os.Stat(rpm)
		if err != nil {
			return err
		}
		var whole []measure
		results, err := h.compare(
			contender{"hashpkg", func() (measure, error) {
				root, err := h.fresh("rpm-root")
				if err != nil {
					return measure{}, err
				}
				staged, all, err := h.timeStaging(root, rpm)
				whole = append(whole, all)
				return staged, err
			}},
			contender{"rpm2archive", func() (measure, error) {
				root, err := h.fresh("archive-root")
				if err != nil {
					return measure{}, err
				}
				return h.time("sh", "-c", `rpm2archive -n - <"$1" | tar -C "$2" -x`, "sh", rpm, root)
			}},
		)
		if err != nil {
			return err
		}
		all := median(whole[1:]) // without the warm-up
		h.add(fmt.Sprintf("read and stage an rpm, %s (%d MB)", c.name, info.Size()/1e6), seconds(results[0].wall), "", "")
		h.add("  to rpm2archive | tar -x", ratio(results[0], results[1]), seconds(results[1].wall), c.target)
		h.add("  the whole install, durable", seconds(all.wall), "", "")
	}
	return nil
}

// installFlag makes the program install a package in place of comparing; see
// installTimed.
const installFlag = "-install-timed"

// installTimed installs a package into a root, and prints when it was staged and
// planned, in nanoseconds since 1970. What comes after that is the commit.
func installTimed(ctx context.Context, dir, file string) error {
	root, err := sysroot.Open(dir, layout.DefaultPrefix, backends.Formats{deb.Format{}, rpm.Format{}})
	if err != nil {
		return err
	}
	debug.SetGCPercent(200) // as hashpkg install does
	var staged time.Time
	_, err = transaction.Install(ctx, transaction.InstallOptions{
		Root: root, Packages: transaction.PackageFiles(file), Now: time.Now(), Signature: trust.Off,
		Progress: func(p transaction.Progress) {
			if p.Step == "editing" {
				staged = time.Now()
			}
		},
	})
	if err != nil {
		return err
	}
	_, err = fmt.Println(staged.UnixNano())
	return err
}

// timeStaging installs an rpm with this program as a process of its own. It
// returns the time until all was read and staged, the start of the process
// included, and that of the whole.
func (h *harness) timeStaging(root, rpm string) (staged, all measure, err error) {
	self, err := os.Executable()
	if err != nil {
		return staged, all, err
	}
	start := time.Now()
	if all, err = h.time(self, installFlag, root, rpm); err != nil {
		return staged, all, err
	}
	out, err := os.ReadFile(filepath.Join(h.dir, "output"))
	if err != nil {
		return staged, all, err
	}
	var at int64
	if _, err := fmt.Sscan(string(out), &at); err != nil {
		return staged, all, fmt.Errorf("%s: %w", installFlag, err)
	}
	return measure{wall: time.Unix(0, at).Sub(start), memory: all.memory}, all, nil
}

// buildRPM builds an rpm of rpmContent with one compression.
func (h *harness) buildRPM(name, payload string) (string, error) {
	dir, err := h.fresh("rpmbuild")
	if err != nil {
		return "", err
	}
	var there []string
	for _, d := range rpmContent {
		if _, err := os.Stat(d); err == nil {
			there = append(there, d)
		}
	}
	// Programs and libraries, broken links and odd names stay out.
	copyFiles := fmt.Sprintf(`mkdir -p %%{buildroot}; find %s -type f ! -name '*.so*' ! -name '*[[:space:]%%"]*' -print0 | `+
		`tar --null -T - -cf - 2>/dev/null | tar -C %%{buildroot} -xf -`, strings.Join(there, " "))
	spec := "Name: data\nVersion: 1\nRelease: 1\nSummary: Data\nLicense: as found\nBuildArch: noarch\nAutoReqProv: no\n%description\nData of this machine.\n" +
		"%install\n" + copyFiles + "\n%files\n%defattr(-,root,root,-)\n/usr\n"
	path := filepath.Join(dir, "data.spec")
	if err := os.WriteFile(path, []byte(spec), 0o644); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(h.ctx, "rpmbuild", "-bb", "--quiet", "--define", "_topdir "+dir, "--define", "_rpmdir "+dir,
		"--define", "_build_name_fmt "+name+".rpm", "--define", "_binary_payload "+payload, "--define", "debug_package %{nil}",
		"--define", "__os_install_post %{nil}", "--define", "_build_id_links none", "--nodeps", path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("rpmbuild: %w: %s", err, out[max(0, len(out)-1000):])
	}
	return filepath.Join(dir, name+".rpm"), nil
}
