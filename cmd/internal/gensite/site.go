package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"html/template"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

//go:embed page.html style.css search.js
var assets embed.FS

// repositoryURL is where files of the repository are that are no pages of the site.
const repositoryURL = "https://github.com/hashpkg/hashpkg/blob/HEAD/"

// siteMark is the index for the search. A directory that has it is a site.
const siteMark = "search-index.js"

// page is one page of the site.
type page struct {
	source string // the file that it is made from, in the repository; "" for a list of pages
	path   string // of the page, in the site
	title  string
	body   template.HTML
}

// group is a part of the site's navigation: the pages of these paths, in this order.
type group struct {
	title string
	paths []string
}

// groups returns the navigation. What a group named "Reference" lacks of docs is added to it.
func groups() []group {
	return []group{
		{"Use", []string{"index.html", "docs/man/index.html", "docs/repositories.html", "docs/views.html", "docs/programs.html", "docs/system.html", "docs/image-builds.html", "docs/build.html", "docs/elf.html"}},
		{"Reference", []string{"docs/json.html", "docs/layout.html", "docs/limits.html", "docs/note.html"}},
		{"Project", []string{"CHANGELOG.html", "SECURITY.html", "CONTRIBUTING.html", "docs/architecture.html", "docs/decisions/index.html", "docs/dependencies.html"}},
	}
}

// generate writes the site of a repository into a directory, which it makes, or makes anew
// if it has a site.
func generate(repository, dir string) error {
	pages, err := makePages(repository)
	if err != nil {
		return err
	}
	index, err := searchIndex(pages)
	if err != nil {
		return err
	}
	if err := clearSite(dir); err != nil {
		return err
	}
	if err := write(dir, siteMark, index); err != nil { // first: what is cut short is a site, too
		return err
	}
	frame, err := template.ParseFS(assets, "page.html")
	if err != nil {
		return err
	}
	for _, p := range pages {
		var out bytes.Buffer
		if err := frame.Execute(&out, framed(p, pages)); err != nil {
			return fmt.Errorf("%s: %w", p.path, err)
		}
		if err := write(dir, p.path, out.Bytes()); err != nil {
			return err
		}
	}
	for _, name := range []string{"style.css", "search.js"} {
		b, err := assets.ReadFile(name)
		if err != nil {
			return err
		}
		if err := write(dir, name, b); err != nil {
			return err
		}
	}
	return nil
}

// clearSite removes a site. What is none stays: a directory may have been named by mistake.
func clearSite(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, siteMark)); err != nil {
		return fmt.Errorf("%s has files, and they are no site: remove them, or name another directory", dir)
	}
	return os.RemoveAll(dir)
}

func write(dir, name string, b []byte) error {
	file := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

// sources returns the files that become pages, and the paths of these, by the names that links
// have for them. The reference of docs/cli says what the manual pages of commands say: links to it
// lead there.
func sources(repository string) (files []string, pathOf map[string]string, err error) {
	pathOf = map[string]string{"docs/man": "docs/man/index.html", "docs/decisions": "docs/decisions/index.html"}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md", "docs/man/*.[1-8]"} {
		found, err := filepath.Glob(filepath.Join(repository, pattern))
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", pattern, err)
		}
		if len(found) == 0 {
			return nil, nil, fmt.Errorf("%s: there are no such files in %s", pattern, repository)
		}
		for _, file := range found {
			name, err := filepath.Rel(repository, file)
			if err != nil {
				return nil, nil, err
			}
			name = filepath.ToSlash(name)
			files = append(files, name)
			switch stem, isMarkdown := strings.CutSuffix(name, ".md"); {
			case name == "README.md":
				pathOf[name] = "index.html"
			case isMarkdown:
				pathOf[name] = stem + ".html"
			default:
				pathOf[name] = name + ".html"
				if stem, is := strings.CutSuffix(path.Base(name), ".8"); is {
					pathOf["docs/cli/"+strings.ReplaceAll(stem, "-", "_")+".md"] = name + ".html"
				}
			}
		}
	}
	return files, pathOf, nil
}

// makePages returns the pages of a repository.
func makePages(repository string) ([]page, error) {
	files, pathOf, err := sources(repository)
	if err != nil {
		return nil, err
	}
	var pages []page
	for _, file := range files {
		p := page{source: file, path: pathOf[file]}
		if strings.HasSuffix(file, ".md") {
			err = p.fromMarkdown(repository, pathOf)
		} else {
			err = p.fromManual(repository, pathOf)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		pages = append(pages, p)
	}
	pages = append(pages,
		listOf(pages, "Manual", "docs/man/"),
		listOf(pages, "Decisions", "docs/decisions/"))
	return pages, nil
}

// listOf returns a page with links to those of a directory.
func listOf(pages []page, title, dir string) page {
	var list []page
	for _, p := range pages {
		if path.Dir(p.path)+"/" == dir {
			list = append(list, p)
		}
	}
	// Formats and introductions come before the many commands.
	slices.SortStableFunc(list, func(a, b page) int { return strings.Compare(sectionOf(a.path), sectionOf(b.path)) })
	var b strings.Builder
	fmt.Fprintf(&b, "<h1>%s</h1>\n<ul>\n", html.EscapeString(title))
	for _, p := range list {
		fmt.Fprintf(&b, "<li><a href=\"%s\">%s</a>%s</li>\n", path.Base(p.path), html.EscapeString(p.title), html.EscapeString(summaryOf(p)))
	}
	b.WriteString("</ul>\n")
	return page{path: dir + "index.html", title: title, body: template.HTML(b.String())}
}

// sectionOf returns the section of a manual page, by its path.
func sectionOf(name string) string {
	section := strings.TrimPrefix(path.Ext(strings.TrimSuffix(name, ".html")), ".")
	if len(section) != 1 {
		return ""
	}
	return section
}

var summary = regexp.MustCompile(`(?s)<span class="Nd">(.*?)</span>`)

// summaryOf returns what a manual page is about, behind a dash; "" for other pages.
func summaryOf(p page) string {
	m := summary.FindStringSubmatch(string(p.body))
	if m == nil {
		return ""
	}
	return " – " + html.UnescapeString(strings.Join(strings.Fields(m[1]), " "))
}

// fromMarkdown makes the page from CommonMark with GitHub's tables.
func (p *page) fromMarkdown(repository string, pathOf map[string]string) error {
	source, err := os.ReadFile(filepath.Join(repository, filepath.FromSlash(p.source)))
	if err != nil {
		return err
	}
	md := goldmark.New(
		goldmark.WithExtensions(extension.Table),
		goldmark.WithParserOptions(parser.WithAutoHeadingID()))
	doc := md.Parser().Parse(text.NewReader(source))
	err = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.Heading:
			if entering && n.Level == 1 && p.title == "" {
				p.title = plainText(n, source)
			}
		case *ast.Link:
			if entering {
				n.Destination = []byte(p.link(string(n.Destination), pathOf))
			}
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		return err
	}
	if p.title == "" {
		return errors.New("it has no heading of the first level")
	}
	var out bytes.Buffer
	if err := md.Renderer().Render(&out, source, doc); err != nil {
		return err
	}
	// What is wider than the page scrolls by itself.
	p.body = template.HTML(strings.NewReplacer("<table>", `<div class="scroll"><table>`, "</table>", "</table></div>").Replace(out.String()))
	return nil
}

// plainText returns the text below a node.
func plainText(n ast.Node, source []byte) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if t, is := n.(*ast.Text); is && entering {
			b.Write(t.Segment.Value(source))
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

// link returns where a link of the page's source leads in the site: to a page, or to the
// repository, for a file that is none.
func (p *page) link(to string, pathOf map[string]string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Path == "" {
		return to
	}
	name := path.Join(path.Dir(p.source), u.Path)
	at, is := pathOf[name]
	if !is {
		if u.Fragment != "" {
			name += "#" + u.Fragment
		}
		return repositoryURL + name
	}
	u.Path = relative(p.path, at)
	return u.String()
}

// relative returns the way from one page to another.
func relative(from, to string) string {
	way, err := filepath.Rel(filepath.FromSlash(path.Dir(from)), filepath.FromSlash(to))
	if err != nil {
		return to
	}
	return filepath.ToSlash(way)
}

var (
	manFrame     = regexp.MustCompile(`(?s)<table class="(?:head|foot)">.*?</table>\s*`)
	manSection   = regexp.MustCompile(`(</?)h1([ >])`)
	manPart      = regexp.MustCompile(`(</?)h2([ >])`)
	manReference = regexp.MustCompile(`(<a class="Xr" href=")([^"]*)(">)`)
)

// fromManual makes the page from a manual page, by mandoc.
func (p *page) fromManual(repository string, pathOf map[string]string) error {
	cmd := exec.Command("mandoc", "-T", "html", "-O", "fragment,man=%N.%S", filepath.FromSlash(p.source))
	cmd.Dir = repository
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("mandoc: %w: %s", err, complaint.String())
	}
	name := path.Base(p.source)
	section := path.Ext(name)
	p.title = strings.TrimSuffix(name, section) + "(" + section[1:] + ")"
	body := manFrame.ReplaceAllString(string(out), "")
	body = manPart.ReplaceAllString(body, "${1}h3$2")
	body = manSection.ReplaceAllString(body, "${1}h2$2")
	body = manReference.ReplaceAllStringFunc(body, func(s string) string {
		m := manReference.FindStringSubmatch(s)
		if at, is := pathOf["docs/man/"+m[2]]; is {
			return m[1] + path.Base(at) + m[3]
		}
		return m[1] + "https://manpages.debian.org/" + m[2] + m[3]
	})
	p.body = template.HTML("<h1>" + html.EscapeString(p.title) + "</h1>\n" + body)
	return nil
}

// item is a link of the navigation.
type item struct {
	Title, Href string
	Current     bool
}

// framed returns what the frame of a page needs.
func framed(p page, pages []page) any {
	type part struct {
		Title string
		Items []item
	}
	var parts []part
	for _, g := range groups() {
		if g.title == "Reference" {
			g.paths = append(g.paths, unnamed(pages)...)
		}
		made := part{Title: g.title}
		for _, at := range g.paths {
			for _, other := range pages {
				if other.path == at {
					title := other.title
					if at == "index.html" {
						title = "Overview"
					}
					made.Items = append(made.Items, item{title, relative(p.path, at), at == p.path})
				}
			}
		}
		parts = append(parts, made)
	}
	top := strings.TrimSuffix(relative(p.path, "index.html"), "index.html")
	return struct {
		Title, Top string
		Parts      []part
		Body       template.HTML
	}{p.title, top, parts, p.body}
}

// unnamed returns the paths of documents that no group names.
func unnamed(pages []page) []string {
	var paths []string
	for _, p := range pages {
		named := slices.ContainsFunc(groups(), func(g group) bool { return slices.Contains(g.paths, p.path) })
		if path.Dir(p.path) == "docs" && !named {
			paths = append(paths, p.path)
		}
	}
	return paths
}

var (
	tag    = regexp.MustCompile(`<[^>]*>`)
	spaces = regexp.MustCompile(`\s+`)
)

// searchIndex returns the pages' texts as a script, for search.js: a script can be loaded
// from a file system, where JSON cannot.
func searchIndex(pages []page) ([]byte, error) {
	type entry struct {
		Path  string `json:"path"`
		Title string `json:"title"`
		Text  string `json:"text"`
	}
	var entries []entry
	for _, p := range pages {
		if p.source != "" {
			words := html.UnescapeString(tag.ReplaceAllString(string(p.body), " "))
			entries = append(entries, entry{p.path, p.title, spaces.ReplaceAllString(words, " ")})
		}
	}
	b, err := json.Marshal(entries)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte("const searchIndex = "), b, []byte(";\n")), nil
}
