package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
	"golang.org/x/net/html"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// repository is the directory that has go.mod, from this one.
const repository = "../../.."

// TestMarkdownLinks follows the links between the repository's Markdown files, to their
// headings by the names that GitHub has for them, and to other files.
func TestMarkdownLinks(t *testing.T) {
	links := 0
	for _, file := range markdownFiles(t) {
		doc, _ := parseMarkdown(t, file)
		for _, to := range linksOf(doc) {
			links++
			u, err := url.Parse(to)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			if u.IsAbs() {
				continue
			}
			target := file
			if u.Path != "" {
				target = filepath.Join(filepath.Dir(file), filepath.FromSlash(u.Path))
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link %s leads nowhere: %v", file, to, err)
				continue
			}
			if u.Fragment != "" {
				doc, source := parseMarkdown(t, target)
				checkAnchor(t, file, to, u.Fragment, doc, source)
			}
		}
	}
	if links < 150 {
		t.Errorf("there are %d links", links)
	}
}

// markdownFiles returns the repository's Markdown files.
func markdownFiles(t *testing.T) []string {
	var files []string
	err := filepath.WalkDir(repository, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && (name == ".git" || name == "bin" || name == ".cache" || name == "demo-root" || name == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(file) == ".md" {
			files = append(files, file)
		}
		return nil
	})
	if err != nil || len(files) < 100 {
		t.Fatalf("there are %d Markdown files; %v", len(files), err)
	}
	return files
}

func parseMarkdown(t *testing.T, file string) (ast.Node, []byte) {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	md := goldmark.New(goldmark.WithExtensions(extension.Table))
	return md.Parser().Parse(text.NewReader(source)), source
}

// linksOf returns where the links and images of a document lead.
func linksOf(doc ast.Node) []string {
	var links []string
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.Link:
			if entering {
				links = append(links, string(n.Destination))
			}
		case *ast.Image:
			if entering {
				links = append(links, string(n.Destination))
			}
		}
		return ast.WalkContinue, nil
	})
	return links
}

// checkAnchor looks for a heading, by GitHub's name for it: its words in small letters, with
// hyphens between them, and without other signs.
func checkAnchor(t *testing.T, file, link, anchor string, doc ast.Node, source []byte) {
	t.Helper()
	seen := map[string]int{}
	found := false
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if n, is := n.(*ast.Heading); is && entering {
			name := strings.Map(func(r rune) rune {
				switch {
				case r == ' ':
					return '-'
				case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
					return unicode.ToLower(r)
				}
				return -1
			}, plainText(n, source))
			again := seen[name]
			if seen[name]++; again > 0 {
				name = fmt.Sprintf("%s-%d", name, again)
			}
			found = found || name == anchor
		}
		return ast.WalkContinue, nil
	})
	if !found {
		t.Errorf("%s: the link %s leads to a heading that is not there", file, link)
	}
}

// element is an element of a page.
type element struct {
	name  string
	attrs map[string]string
}

func elementsOf(t *testing.T, file string) []element {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	doc, err := html.Parse(f)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var elements []element
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode {
			e := element{n.Data, map[string]string{}}
			for _, a := range n.Attr {
				e.attrs[a.Key] = a.Val
			}
			elements = append(elements, e)
		}
	}
	return elements
}

// makeSite makes the site of the repository, and returns its directory and its pages.
func makeSite(t *testing.T) (dir string, pages map[string][]element) {
	testneed.Programs(t, "mandoc")
	dir = filepath.Join(t.TempDir(), "site")
	if err := generate(repository, dir); err != nil {
		t.Fatal(err)
	}
	pages = map[string][]element{}
	err := filepath.WalkDir(dir, func(file string, _ fs.DirEntry, err error) error {
		if filepath.Ext(file) == ".html" {
			pages[file] = elementsOf(t, file)
		}
		return err
	})
	if err != nil || len(pages) < 150 {
		t.Fatalf("the site has %d pages; %v", len(pages), err)
	}
	return dir, pages
}

// TestSiteLinks follows all links of the site: each leads to a page, and to an element of it,
// or to a file of the repository. Each page is led to, and nothing is loaded from elsewhere.
func TestSiteLinks(t *testing.T) {
	dir, pages := makeSite(t)
	ids := map[string][]string{}
	for file, elements := range pages {
		for _, e := range elements {
			if id := e.attrs["id"]; id != "" {
				ids[file] = append(ids[file], id)
			}
		}
	}
	ledTo := map[string]bool{}
	for file, elements := range pages {
		for _, e := range elements {
			href, isLink := e.attrs["href"]
			if src, is := e.attrs["src"]; is || e.name == "link" {
				if src == "" {
					src = href
				}
				if _, err := os.Stat(filepath.Join(filepath.Dir(file), src)); err != nil {
					t.Errorf("%s loads %s: %v", file, src, err)
				}
				continue
			}
			if !isLink {
				continue
			}
			if name, is := strings.CutPrefix(href, repositoryURL); is {
				if _, err := os.Stat(filepath.Join(repository, name)); err != nil {
					t.Errorf("%s: the link %s leads to no file of the repository", file, href)
				}
				continue
			}
			u, err := url.Parse(href)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			if u.IsAbs() {
				continue
			}
			target := file
			if u.Path != "" {
				target = filepath.Join(filepath.Dir(file), filepath.FromSlash(u.Path))
			}
			if pages[target] == nil {
				t.Errorf("%s: the link %s leads to no page", file, href)
			}
			if target != file {
				ledTo[target] = true
			}
			if u.Fragment != "" && !slices.Contains(ids[target], u.Fragment) {
				t.Errorf("%s: the link %s leads to an element that is not there", file, href)
			}
		}
	}
	for file := range pages {
		if !ledTo[file] {
			t.Errorf("no link leads to %s", strings.TrimPrefix(file, dir))
		}
	}
}

// TestSiteIsAccessible looks for what a reader of the page by ear needs.
func TestSiteIsAccessible(t *testing.T) {
	_, pages := makeSite(t)
	for file, elements := range pages {
		count := map[string]int{}
		ids := map[string]bool{}
		level := 0
		inMain := false
		for _, e := range elements {
			count[e.name]++
			if id := e.attrs["id"]; id != "" && ids[id] {
				t.Errorf("%s has the id %s twice", file, id)
			} else if id != "" {
				ids[id] = true
			}
			inMain = inMain || e.name == "main"
			if inMain && len(e.name) == 2 && e.name[0] == 'h' && e.name[1] >= '1' && e.name[1] <= '6' {
				if next := int(e.name[1] - '0'); next > level+1 {
					t.Errorf("%s goes from a heading of level %d to one of %d", file, level, next)
				} else {
					level = next
				}
			}
			if e.name == "html" && e.attrs["lang"] != "en" {
				t.Errorf("%s does not say that it is English", file)
			}
			if e.name == "img" && e.attrs["alt"] == "" {
				t.Errorf("%s has an image without a description", file)
			}
		}
		for _, name := range []string{"title", "h1", "main", "nav", "header"} {
			if count[name] != 1 {
				t.Errorf("%s has %d elements %s, want 1", file, count[name], name)
			}
		}
	}
}

// TestSiteTwice makes a site over an old one, and does not remove what is none.
func TestSiteTwice(t *testing.T) {
	dir, _ := makeSite(t)
	stale := filepath.Join(dir, "docs/gone.html")
	if err := os.WriteFile(stale, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := generate(repository, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); err == nil {
		t.Error("a page of the old site is there")
	}
	other := t.TempDir()
	kept := filepath.Join(other, "kept")
	if err := os.WriteFile(kept, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := generate(repository, other); err == nil {
		t.Error("a directory with other files is taken for a site")
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}

// searches types into the search of a page, and leaves what it saw in an attribute.
const searches = `<script>
addEventListener("load", async () => {
  const saw = {};
  const settled = async () => { for (let i = 0; i < 50; i++) await new Promise(done => setTimeout(done, 10)); };
  const type = async words => {
    document.querySelector("input").value = words;
    document.querySelector("input").dispatchEvent(new Event("input", {bubbles: true}));
    await settled();
    return document.querySelector("[role=search]");
  };
  try {
    let found = await type("hashpkg-freeze(8) refresh");
    saw.first = found.querySelector("a").href.split("/site/")[1];
    saw.said = found.querySelector("[role=status]").textContent;
    saw.nothing = (await type("no-such-word-anywhere")).querySelector("ol").textContent;
    saw.empty = (await type("")).querySelectorAll("li").length;
    saw.label = document.querySelector("input").ariaLabel;
  } catch (err) { saw.error = String(err); }
  document.documentElement.dataset.saw = JSON.stringify(saw);
});
</script>
</body>`

// TestSiteSearch searches in a browser, from a page in a directory.
func TestSiteSearch(t *testing.T) {
	testneed.Programs(t, "chromium")
	dir, _ := makeSite(t)
	file := filepath.Join(dir, "docs/man/hashpkg.7.html")
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(page, []byte("</body>"), []byte(searches), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-crash-reporter",
		"--user-data-dir="+filepath.Join(home, "profile"), "--virtual-time-budget=20000", "--dump-dom", "file://"+file)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home, "TMPDIR="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	dom, err := cmd.Output()
	m := regexp.MustCompile(`data-saw="([^"]*)"`).FindSubmatch(dom)
	if m == nil {
		t.Fatalf("the page was not searched: %v", err)
	}
	got := map[string]any{}
	if err := json.Unmarshal([]byte(html.UnescapeString(string(m[1]))), &got); err != nil {
		t.Fatal(err)
	}
	said, _ := got["said"].(string)
	delete(got, "said")
	want := map[string]any{"first": "docs/man/hashpkg-freeze.8.html", "nothing": "Nothing found", "empty": 0.0, "label": "Search the documentation"}
	if diff := cmp.Diff(want, got); diff != "" || !regexp.MustCompile(`^Pages found: [1-9]\d*$`).MatchString(said) {
		t.Errorf("the search says %q (-want +got):\n%s", said, diff)
	}
}
