package elfedit

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// tool returns the path of a program that judges, or skips the test.
func tool(t testing.TB, name string) string {
	t.Helper()
	testneed.Programs(t, name)
	return name
}

// mustMake makes and applies an edit, and checks what holds for all edits: the
// input stays, undo gives it back, and the same changes again change nothing.
func mustMake(t testing.TB, data []byte, c Changes) []byte {
	t.Helper()
	edited, err := makeChecked(data, c)
	if err != nil {
		t.Fatal(err)
	}
	return edited
}

func makeChecked(data []byte, c Changes) ([]byte, error) {
	e, err := Make(data, c)
	if err != nil {
		return nil, err
	}
	edited, err := e.Apply(data)
	if err != nil {
		return nil, fmt.Errorf("apply: %v", err)
	}
	back, err := e.Invert().Apply(edited)
	if err != nil {
		return nil, fmt.Errorf("undo: %v", err)
	}
	if !bytes.Equal(back, data) {
		return nil, fmt.Errorf("undo does not give the bytes back")
	}
	again, err := Make(edited, c)
	if err != nil {
		return nil, fmt.Errorf("edit again: %v", err)
	}
	if !again.IsZero() {
		return nil, fmt.Errorf("the same edit again has %d hunks at %#x", len(again.Hunks), again.Hunks[0].Offset)
	}
	return edited, nil
}

func mustInspect(t testing.TB, data []byte) *Info {
	t.Helper()
	info, err := Inspect(data)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// checkSound checks the rules of the gABI and of the hardening that an edit
// could break.
func checkSound(before, after []byte) error {
	old, err := parse(before)
	if err != nil {
		return err
	}
	img, err := parse(after)
	if err != nil {
		return err
	}
	if img.sectsErr != nil {
		return img.sectsErr
	}
	var last prog
	count := func(img *image, f func(prog) bool) (n int) {
		for _, p := range img.progs {
			if f(p) {
				n++
			}
		}
		return n
	}
	for i, p := range img.progs {
		switch p.kind {
		case elf.PT_LOAD:
			if p.vaddr < last.memEnd() && last.kind == elf.PT_LOAD {
				return fmt.Errorf("segment %d overlaps the one before it", i)
			}
			if p.align > 1 && (p.vaddr-p.off)%p.align != 0 && count(old, func(q prog) bool { return q.kind == p.kind && (q.vaddr-q.off)%max(q.align, 1) != 0 }) == 0 {
				return fmt.Errorf("segment %d is not congruent", i)
			}
			if p.fileEnd() > uint64(len(after)) {
				return fmt.Errorf("segment %d reaches past the file", i)
			}
			last = p
		case elf.PT_PHDR, elf.PT_INTERP, elf.PT_DYNAMIC, elf.PT_NOTE, elf.PT_GNU_PROPERTY, elf.PT_GNU_RELRO:
			if p.memsz == 0 {
				continue
			}
			inside := count(img, func(q prog) bool {
				return q.kind == elf.PT_LOAD && p.off >= q.off && p.fileEnd() <= q.fileEnd() && p.vaddr-p.off == q.vaddr-q.off
			})
			if inside == 0 && p.kind != elf.PT_GNU_RELRO && i < len(old.progs) && p.off != old.progs[i].off {
				return fmt.Errorf("%v is in no segment", p.kind)
			}
		}
	}
	hard := func(img *image) (s string) {
		wx := count(img, func(p prog) bool { return p.kind == elf.PT_LOAD && p.flags&(elf.PF_W|elf.PF_X) == elf.PF_W|elf.PF_X })
		x := count(img, func(p prog) bool { return p.kind == elf.PT_LOAD && p.flags&elf.PF_X != 0 })
		s = fmt.Sprintf("wx=%d x=%d", wx, x)
		for _, p := range img.progs {
			if p.kind == elf.PT_GNU_STACK {
				s += fmt.Sprintf(" stack=%v", p.flags)
			}
			if p.kind == elf.PT_GNU_RELRO {
				s += fmt.Sprintf(" relro-end=%#x", p.memEnd())
				if img.dynProg >= 0 {
					d := img.progs[img.dynProg]
					s += fmt.Sprintf(" dynamic-in-relro=%v", d.vaddr >= p.vaddr && d.memEnd() <= p.memEnd())
				}
			}
		}
		return s
	}
	if a, b := hard(old), hard(img); a != b {
		return fmt.Errorf("hardening: %s, was %s", b, a)
	}
	// Sections stay inside the file and do not overlap.
	var alloc []sect
	for _, s := range img.sects {
		if s.fileSize() > 0 {
			alloc = append(alloc, s)
		}
	}
	slices.SortFunc(alloc, func(a, b sect) int { return int(int64(a.off) - int64(b.off)) })
	for i := 1; i < len(alloc); i++ {
		if alloc[i].off < alloc[i-1].off+alloc[i-1].size {
			return fmt.Errorf("sections at %#x and %#x overlap", alloc[i-1].off, alloc[i].off)
		}
	}
	return nil
}

var lintNumbers = regexp.MustCompile(`0x[0-9a-f]+|\b[0-9]+\b`)

// lint returns what eu-elflint says of a file, without the numbers.
func lint(t testing.TB, path string) map[string]int {
	out, _ := exec.Command("eu-elflint", "--gnu-ld", path).CombinedOutput()
	complaints := make(map[string]int)
	for line := range strings.Lines(string(out)) {
		complaints[lintNumbers.ReplaceAllString(strings.TrimSpace(line), "N")]++
	}
	return complaints
}

func newComplaints(before, after map[string]int) []string {
	var fresh []string
	for line, n := range after {
		// Owners of notes that eu-elflint does not know are ours.
		if n > before[line] && line != "No errors" && !strings.Contains(line, "with owner name 'hashpkg'") {
			fresh = append(fresh, line)
		}
	}
	return fresh
}

var loadAddress = regexp.MustCompile(` \(0x[0-9a-f]+\)`)

// resolve returns what the real loader resolves, a line for each library.
func resolve(loader, path string) (string, error) {
	cmd := exec.Command(loader, "--list", path)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	var lines []string
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(loadAddress.ReplaceAllString(line, ""))
		lines = append(lines, strings.ReplaceAll(line, path, "FILE"))
	}
	return strings.Join(lines, "\n"), err
}

// paths returns the paths that resolve's lines lead to, in their order.
func paths(resolved string) []string {
	var list []string
	for line := range strings.Lines(resolved) {
		line = strings.TrimSpace(line)
		if _, path, ok := strings.Cut(line, " => "); ok {
			line = path
		}
		if strings.HasPrefix(line, "/") && !strings.Contains(filepath.Base(line), "ld-linux") {
			list = append(list, line)
		}
	}
	return list
}

// hostLoader is the loader of the machine's own architecture.
func hostLoader(t testing.TB, class elf.Class, machine elf.Machine) string {
	var loader string
	switch {
	case machine == elf.EM_X86_64 && class == elf.ELFCLASS64:
		loader = "/lib64/ld-linux-x86-64.so.2"
	case machine == elf.EM_AARCH64:
		loader = "/lib/ld-linux-aarch64.so.1"
	default:
		return ""
	}
	if _, err := os.Stat(loader); err != nil {
		return ""
	}
	if exec.Command(loader, "--help").Run() != nil {
		return ""
	}
	return loader
}

func writeProgram(t testing.TB, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
