package rpm

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// xmlTokens returns what the reader makes of a document, as lines of text.
func xmlTokens(r io.Reader, window int) (lines []string, err error) {
	x := newXMLReader(r, "test", window)
	text := ""
	for {
		kind, err := x.next()
		if kind != xmlText && text != "" {
			lines, text = append(lines, fmt.Sprintf("text %q", text)), ""
		}
		if err == io.EOF {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		switch kind {
		case xmlStart:
			line := "start " + string(x.name)
			for _, a := range x.attrs {
				line += fmt.Sprintf(" %s=%q", a.name, a.value)
			}
			lines = append(lines, line)
		case xmlEnd:
			lines = append(lines, "end "+string(x.name))
		case xmlText:
			text += string(x.text) // which a comment may divide
		}
	}
}

// judgedTokens returns what encoding/xml makes of it.
func judgedTokens(document []byte) (lines []string, err error) {
	d := xml.NewDecoder(bytes.NewReader(document))
	var open []string
	text := ""
	name := func(n xml.Name) string {
		if n.Space == "" {
			return n.Local
		}
		return n.Space + ":" + n.Local
	}
	for {
		token, err := d.RawToken()
		if _, isText := token.(xml.CharData); !isText && text != "" {
			if _, isComment := token.(xml.Comment); !isComment {
				lines, text = append(lines, fmt.Sprintf("text %q", text)), ""
			}
		}
		if err == io.EOF && len(open) == 0 {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			line := "start " + name(token.Name)
			for _, a := range token.Attr {
				line += fmt.Sprintf(" %s=%q", name(a.Name), a.Value)
			}
			lines, open = append(lines, line), append(open, name(token.Name))
		case xml.EndElement:
			if len(open) == 0 || open[len(open)-1] != name(token.Name) {
				return lines, errors.New("the elements are not nested")
			}
			lines, open = append(lines, "end "+name(token.Name)), open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				text += string(token)
			}
		}
	}
}

// compareXML checks that what the reader takes encoding/xml takes as well, and as the
// same. It reports whether it was taken.
func compareXML(t *testing.T, document []byte) bool {
	t.Helper()
	got, err := xmlTokens(bytes.NewReader(document), 1+len(document))
	pieces, pieceErr := xmlTokens(bytes.NewReader(document), 1) // every token is larger than the window at first
	if !slices.Equal(got, pieces) || (err == nil) != (pieceErr == nil) {
		t.Errorf("%q is\n%s, %v\nand in pieces\n%s, %v", document, strings.Join(got, "\n"), err, strings.Join(pieces, "\n"), pieceErr)
	}
	if err != nil {
		var e *FormatError
		if !errors.As(err, &e) {
			t.Errorf("%q: %v", document, err)
		}
		return false
	}
	want, err := judgedTokens(document)
	if err != nil {
		t.Errorf("%.2000q is taken, and encoding/xml refuses it: %v", document, err)
	} else if !slices.Equal(got, want) {
		t.Errorf("%.2000q is\n%s\nand for encoding/xml\n%s", document, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return true
}

// randomXML returns a document of the kind that the reader takes.
func randomXML(r *rand.Rand) []byte {
	var b bytes.Buffer
	pick := func(all ...string) string { return all[r.IntN(len(all))] }
	if r.IntN(2) == 0 {
		b.WriteString(pick(`<?xml version="1.0" encoding="UTF-8"?>`, `<?xml version="1.0"?>`, "<?xml version='1.0' encoding='utf-8' standalone='yes' ?>") + pick("", "\n", "\r\n"))
	}
	text := func() string {
		s := ""
		for range r.IntN(6) {
			s += pick("a", "libfoo.so.1()(64bit)", " ", "\n", "\t", "&amp;", "&lt;", "&gt;", "&quot;", "&apos;", "&#10;", "&#x1F600;", "&#xe9;", "é", "日本", "]]", "=", "/", "\r\n", "\r", ";", "-->", "😀")
		}
		return s
	}
	names := []string{"a", "package", "rpm:entry", "x-y.z_1", "mm0:alternate"}
	var element func(depth int)
	element = func(depth int) {
		name := pick(names...)
		b.WriteString("<" + name)
		for i := range r.IntN(4) {
			quote := pick(`"`, `'`)
			value := strings.NewReplacer(quote, "", "]]>", "").Replace(text())
			fmt.Fprintf(&b, "%s%s%d%s=%s%s%s%s", pick(" ", "\n", "  "), pick("name", "xml:base", "e"), i, pick("", " "), pick("", " "), quote, value, quote)
		}
		b.WriteString(pick("", " ", "\n"))
		if r.IntN(4) == 0 {
			b.WriteString("/>")
			return
		}
		b.WriteString(">")
		for range r.IntN(4) {
			switch r.IntN(4) {
			case 0:
				b.WriteString("<!-- a comment <b> & c -->")
			case 1, 2:
				if depth < 6 {
					element(depth + 1)
				}
			default:
				b.WriteString(strings.ReplaceAll(text(), "]]-->", "-"))
			}
		}
		b.WriteString("</" + name + pick("", " ", "\n") + ">")
	}
	element(0)
	b.WriteString(pick("", "\n", "<!-- end -->\n"))
	return b.Bytes()
}

// TestXMLAgainstEncodingXML has random documents, which are taken, and mutations of
// them, of which those are that encoding/xml takes as the same.
func TestXMLAgainstEncodingXML(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	taken, mutated := 0, 0
	for range 4000 {
		document := randomXML(r)
		if !compareXML(t, document) {
			_, err := xmlTokens(bytes.NewReader(document), xmlWindow)
			t.Fatalf("%q is refused: %v", document, err)
		}
		for range 10 {
			m := bytes.Clone(document)
			for range 1 + r.IntN(3) {
				i := r.IntN(len(m))
				switch r.IntN(4) {
				case 0:
					m[i] = "<>&'\"/!?-=;[]: \r\n\x00\x80xa"[r.IntN(21)]
				case 1:
					m = slices.Delete(m, i, min(len(m), i+1+r.IntN(4)))
				case 2:
					m = slices.Insert(m, i, m[r.IntN(len(m)):]...)
				default:
					m[i] ^= 1 << r.IntN(8)
				}
				if len(m) == 0 {
					m = []byte("<")
				}
			}
			mutated++
			if compareXML(t, m) {
				taken++
			}
		}
	}
	if taken == 0 || taken == mutated {
		t.Errorf("of %d mutated documents %d are taken", mutated, taken)
	}
}

// TestXMLPieces reads documents in pieces, with a window that each token crosses.
func TestXMLPieces(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var b bytes.Buffer
	b.WriteString("<all>")
	for b.Len() < 3*xmlWindow {
		document := randomXML(r)
		if i := bytes.Index(document, []byte("?>")); i >= 0 {
			document = document[i+2:]
		}
		b.Write(document)
	}
	b.WriteString("</all>")
	if !compareXML(t, b.Bytes()) {
		t.Fatal("it is refused")
	}
	want, err := xmlTokens(bytes.NewReader(b.Bytes()), xmlWindow)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]io.Reader{
		"halves": iotest.HalfReader(bytes.NewReader(b.Bytes())), "eof": iotest.DataErrReader(bytes.NewReader(b.Bytes())),
		"bytes": iotest.OneByteReader(bytes.NewReader(b.Bytes())),
	} {
		if got, err := xmlTokens(r, xmlWindow); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %d of %d tokens are the same: %v", name, len(got), len(want), err)
		}
	}
}

func TestXMLRefused(t *testing.T) {
	deep := strings.Repeat("<a>", maxXMLDepth+1) + strings.Repeat("</a>", maxXMLDepth+1)
	attrs := ""
	for i := range maxXMLAttrs + 1 {
		attrs += fmt.Sprintf(` a%d=""`, i)
	}
	for _, tc := range []struct{ document, says string }{
		{"", "truncated"},
		{" \n", "truncated"},
		{"text", "truncated"},
		{"<a>", "truncated"},
		{"<a", "truncated"},
		{"<a>text", "truncated"},
		{"<a b='", "truncated"},
		{"<!-- ", "truncated"},
		{"<a/><b/>", "second outermost"},
		{"<a/>text<!-- -->", "outside of the outermost"},
		{"<a></b>", "has no beginning"},
		{"</a>", "has no beginning"},
		{"<a><b></a></b>", "has no beginning"},
		{`<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>`, "declaration or CDATA"},
		{`<a>&e;</a>`, "not an entity"},
		{`<a>&#0;</a>`, "not an entity"},
		{`<a>&#xd800;</a>`, "not an entity"},
		{`<a>&#x110000;</a>`, "not an entity"},
		{`<a>&#99999999999999999999;</a>`, "not an entity"},
		{`<a>&amp</a>`, "not an entity"},
		{`<a>a & b</a>`, "not an entity"},
		{`<a><![CDATA[x]]></a>`, "declaration or CDATA"},
		{`<a><?php ?></a>`, "processing instruction"},
		{` <?xml version="1.0"?><a/>`, "processing instruction"},
		{`<?xml version="1.1"?><a/>`, "not XML 1.0"},
		{`<?xml version="1.0" encoding="latin1"?><a/>`, "not XML 1.0"},
		{`<?xml version="1.0" encoding="?><a/>`, "declaration of XML"},
		{`<?xml encoding="UTF-8"?><a/>`, "which version"},
		{"<a>\x00</a>", "does not allow"},
		{"<a>\x1b[1m</a>", "does not allow"},
		{"<a b='\x07'/>", "does not allow"},
		{"<a>\xff</a>", "UTF-8"},
		{"<a>\xef\xbf\xbf</a>", "UTF-8"},
		{"<a>]]></a>", "]]>"},
		{"<a b=\"<\"/>", `"<"`},
		{`<a b="1" b="2"/>`, "twice"},
		{`<a b=1/>`, "quotes"},
		{`<a b/>`, "no value"},
		{`<a b="1"c="2"/>`, "not an attribute"},
		{`<a:b:c/>`, "does not begin"},
		{`<1/>`, "does not begin"},
		{`<a / >`, "does not end"},
		{"<!-- a -- b --><a/>", "hyphens"},
		{deep, "deep"},
		{"<a" + attrs + "/>", "one too many"},
		{"<a>" + strings.Repeat("x", maxXMLToken) + "</a>", "more than"},
		{"<a b='" + strings.Repeat("x", maxXMLToken) + "'/>", "more than"},
		{"<!--" + strings.Repeat("x", maxXMLToken) + "--><a/>", "more than"},
	} {
		_, err := xmlTokens(strings.NewReader(tc.document), xmlWindow)
		if err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%.80q: %v, want %q", tc.document, err, tc.says)
		}
	}
}

func FuzzXML(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		f.Add(randomXML(r))
	}
	f.Add([]byte(primaryXML(nil)))
	f.Fuzz(func(t *testing.T, document []byte) { compareXML(t, document) })
}

// generatedPrimary returns an index of packages that is as large as the one of a
// distribution, for a number of packages as large.
func generatedPrimary(packages int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="%d">
`, packages)
	for i := range packages {
		fmt.Fprintf(&b, `<package type="rpm">
  <name>package-%[1]d</name>
  <arch>x86_64</arch>
  <version epoch="0" ver="%[2]d.2.3" rel="%[3]d.fc41"/>
  <checksum type="sha256" pkgid="YES">%064[1]x</checksum>
  <summary>The summary of package %[1]d, which does things</summary>
  <description>Package %[1]d does things that other packages do not do, and does them well.
It has a description of a few lines, as most have, and nobody reads it here,
since only what a relation may name is of interest &amp; where the file is.</description>
  <packager>Fedora Project</packager>
  <url>https://example.org/package-%[1]d</url>
  <time file="1700000000" build="1700000000"/>
  <size package="123456" installed="654321" archive="700000"/>
  <location href="Packages/p/package-%[1]d-%[2]d.2.3-%[3]d.fc41.x86_64.rpm"/>
  <format>
    <rpm:license>GPL-2.0-or-later AND MIT</rpm:license>
    <rpm:vendor>Fedora Project</rpm:vendor>
    <rpm:group>Unspecified</rpm:group>
    <rpm:buildhost>buildvm-x86-01.example.org</rpm:buildhost>
    <rpm:sourcerpm>source-%[1]d-%[2]d.2.3-%[3]d.fc41.src.rpm</rpm:sourcerpm>
    <rpm:header-range start="4504" end="90000"/>
    <rpm:provides>
`, i, i%7, i%50)
		for j := range 6 {
			fmt.Fprintf(&b, "      <rpm:entry name=\"libprovided-%d-%d.so.1()(64bit)\" flags=\"EQ\" epoch=\"0\" ver=\"%d.2.3\" rel=\"%d.fc41\"/>\n", i, j, i%7, i%50)
		}
		b.WriteString("    </rpm:provides>\n    <rpm:requires>\n")
		for j := range 14 {
			fmt.Fprintf(&b, "      <rpm:entry name=\"libprovided-%d-%d.so.1()(64bit)\"/>\n", (i*31+j*7)%packages, j%6)
		}
		b.WriteString("      <rpm:entry name=\"rtld(GNU_HASH)\"/>\n      <rpm:entry name=\"glibc\" flags=\"GE\" epoch=\"0\" ver=\"2.34\"/>\n    </rpm:requires>\n")
		for j := range 2 {
			fmt.Fprintf(&b, "    <file>/usr/bin/program-%d-%d</file>\n", i, j)
		}
		b.WriteString("  </format>\n</package>\n")
	}
	b.WriteString("</metadata>\n")
	return b.Bytes()
}
