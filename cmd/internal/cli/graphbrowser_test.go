package cli

import (
	"bytes"
	"encoding/json"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// explores uses the page as somebody would, by mouse and by keys, and leaves what it saw in
// an attribute.
const explores = `<script>
{
  const saw = {}, list = () => [...by("list").querySelectorAll("button")];
  const names = where => [...where.querySelectorAll("button")].map(b => b.firstChild.textContent);
  const section = title => [...by("detail").querySelectorAll("section")].find(s => s.querySelector("h3").textContent.startsWith(title));
  const go = act => { act(); dispatchEvent(new Event("hashchange")); }; // the browser's own comes after the page is there
  const press = (key, at) => at.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
  const set = (id, value, event) => { by(id).value = value; by(id).dispatchEvent(new Event(event, {bubbles: true})); };
  try {
    saw.title = document.title;
    saw.all = by("count").textContent;
    saw.unlabelled = [...document.querySelectorAll("input, select")].filter(e => !e.labels.length).length;
    saw.nameless = [...document.querySelectorAll("button")].filter(b => !b.textContent.trim()).length;
    const made = list()[500];
    set("search", "lib12.so 1", "input");
    saw.found = names(by("list")).join(" ");
    go(() => list()[0].click());
    saw.chosen = by("detail").querySelector("h2").textContent;
    saw.current = document.querySelectorAll("[aria-current]").length;
    saw.needs = names(section("Needs (")).join(" ");
    saw.neededBy = section("Needed by (").querySelectorAll("button").length;
    saw.through = section("Needs through others").querySelectorAll("button").length;
    go(() => section("Needs (").querySelectorAll("button")[1].click());
    saw.followed = by("detail").querySelector("h2").textContent;
    saw.builds = [...by("detail").querySelectorAll("table:has(caption) tbody button")].map(b => b.querySelector("small").textContent).join("; ");
    go(() => location.hash = "#n12");
    saw.linked = by("detail").querySelector("h2").textContent;
    set("search", "", "input");
    saw.madeOnce = list().includes(made);
    document.body.focus(); press("/", document.body);
    saw.slash = document.activeElement.id;
    press("ArrowDown", document.activeElement); press("ArrowDown", document.activeElement);
    saw.second = list().indexOf(document.activeElement);
    press("ArrowUp", document.activeElement); press("ArrowUp", document.activeElement);
    saw.up = document.activeElement.id;
    set("show", "versions", "change"); saw.versions = by("count").textContent;
    set("show", "programs", "change"); saw.programs = names(by("list")).join(" ");
    set("show", "all", "change"); set("order", "size", "change"); saw.largest = list()[0].dataset.id;
  } catch (err) { saw.error = String(err); }
  document.documentElement.dataset.saw = JSON.stringify(saw);
}
</script>
</body>`

// TestGraphPageInBrowser explores a page of 1,000 files in a browser.
func TestGraphPageInBrowser(t *testing.T) {
	t.Parallel()
	testneed.Programs(t, "chromium")
	page, err := graphPage("tool", largeGraph(1000))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "graph.html")
	if err := os.WriteFile(file, bytes.Replace(page, []byte("</body>"), []byte(explores), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-crash-reporter",
		"--user-data-dir="+filepath.Join(dir, "profile"), "--dump-dom", "file://"+file)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir, "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	var said bytes.Buffer
	cmd.Stderr = &said
	dom, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, said.String())
	}
	found := regexp.MustCompile(`data-saw="([^"]*)"`).FindSubmatch(dom)
	if found == nil {
		t.Fatalf("the page was not explored: %s", said.String())
	}
	var saw map[string]any
	if err := json.Unmarshal([]byte(html.UnescapeString(string(found[1]))), &saw); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"title": "tool: what loads what", "all": "1000 of 1000", "unlabelled": 0.0, "nameless": 0.0,
		"found": "lib12.so.1", "chosen": "lib12.so.1", "current": 1.0,
		"needs": "lib13.so.1 lib18.so.1 lib43.so.1", "neededBy": 4.0, "through": 996.0, "builds": "lib18 1, 17.6 KiB; lib19 1, 18.6 KiB",
		"followed": "lib18.so.1", "linked": "lib12.so.1", "madeOnce": true,
		"slash": "search", "second": 1.0, "up": "search",
		"versions": "200 of 1000", "programs": "</script><script>document.title='taken'</script>", "largest": "999",
	}
	if diff := cmp.Diff(want, saw); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}
