package rpm

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Bounds of the XML of repositories. The depth of what is read is six.
const (
	maxXMLToken  = 4 << 20 // a tag, or the text between two
	maxXMLDepth  = 32
	maxXMLAttrs  = 64
	xmlWindow    = 256 << 10 // for a large document
	xmlMaxEntity = len("&#x10ffff;")
)

// xmlReader reads XML of the kind that repositories have: elements, attributes,
// text, comments and the XML declaration, in UTF-8. What else there is in XML is
// refused: a DOCTYPE and the entities that it could declare, CDATA, processing
// instructions. Namespaces are not resolved: as for the package managers, a prefix
// is a part of the name.
//
// What it takes encoding/xml takes, too, and for the same elements and text. It is
// here for its speed: a distribution's index has a quarter of a gigabyte of XML.
type xmlReader struct {
	r     io.Reader
	part  string // what errors call the file
	buf   []byte
	pos   int   // in buf, of what comes next
	end   int   // of what was read into buf
	base  int64 // offset of buf[0] in the file
	atEOF bool

	// Of the token at hand. The slices hold until the next call of next.
	name  []byte // of a start or an end
	attrs []xmlAttr
	text  []byte

	names     []byte // of the elements that are open, one behind the other
	ends      []int  // where each of them ends in names
	emptyTag  bool   // the end of an empty element comes next
	hasRoot   bool
	unescaped []byte // text and values with entities
}

type xmlAttr struct{ name, value []byte }

type xmlKind uint8

const (
	xmlStart xmlKind = iota + 1
	xmlEnd
	xmlText
)

// newXMLReader returns a reader with a window of some size, which grows when a token
// does not fit in.
func newXMLReader(r io.Reader, part string, window int) *xmlReader {
	return &xmlReader{r: r, part: part, buf: make([]byte, window)}
}

// depth returns how many elements are open: after a start its own is, and after an
// end it is not.
func (x *xmlReader) depth() int { return len(x.ends) }

// attr returns the value of an attribute of a start, or nil.
func (x *xmlReader) attr(name string) []byte {
	for i := range x.attrs {
		if string(x.attrs[i].name) == name {
			return x.attrs[i].value
		}
	}
	return nil
}

func (x *xmlReader) fail(format string, args ...any) error {
	return &FormatError{Member: x.part, Offset: x.base + int64(x.pos), Msg: fmt.Sprintf(format, args...)}
}

// fill reads more behind what is there, until the window is full. It reports whether
// there was any.
func (x *xmlReader) fill() (bool, error) {
	if x.atEOF {
		return false, nil
	}
	if x.pos > 0 {
		copy(x.buf, x.buf[x.pos:x.end])
		x.base += int64(x.pos)
		x.end -= x.pos
		x.pos = 0
	}
	if x.end == len(x.buf) {
		if len(x.buf) >= maxXMLToken {
			return false, x.fail("a tag or a text has more than %d bytes", maxXMLToken)
		}
		x.buf = append(x.buf, make([]byte, len(x.buf))...)
	}
	n, err := io.ReadFull(x.r, x.buf[x.end:])
	x.end += n
	switch err {
	case nil:
	case io.EOF, io.ErrUnexpectedEOF: // both by io.ReadFull itself
		x.atEOF = true
	default:
		return false, fmt.Errorf("read %s: %w", x.part, err)
	}
	return n > 0, nil
}

// next advances to the next token. It returns io.EOF after the end of the outermost
// element, if nothing but space and comments follows.
func (x *xmlReader) next() (xmlKind, error) {
	if x.emptyTag {
		x.emptyTag = false
		x.close()
		return xmlEnd, nil
	}
	for {
		rest := x.buf[x.pos:x.end]
		i := bytes.IndexByte(rest, '<')
		if i < 0 || i == 0 && len(rest) < 4 { // what begins a comment
			more, err := x.fill()
			switch {
			case err != nil:
				return 0, err
			case more:
				continue
			case i < 0 && len(bytes.Trim(rest, " \t\r\n")) > 0:
				return 0, x.truncated()
			case i < 0 && (x.depth() > 0 || !x.hasRoot):
				return 0, x.truncated()
			case i < 0:
				return 0, io.EOF
			}
		}
		if i > 0 {
			if x.depth() > 0 {
				text, err := x.unescape(rest[:i], true)
				if err != nil {
					return 0, err
				}
				x.pos += i
				x.text = text
				return xmlText, nil
			}
			if len(bytes.Trim(rest[:i], " \t\r\n")) > 0 {
				return 0, x.fail("there is text outside of the outermost element")
			}
			x.pos += i
			continue
		}
		kind, n, err := x.tag(x.buf[x.pos:x.end])
		if err != nil {
			return 0, err
		}
		if n == 0 {
			more, err := x.fill()
			if err == nil && !more {
				err = x.truncated()
			}
			if err != nil {
				return 0, err
			}
			continue
		}
		x.pos += n
		if kind != 0 {
			return kind, nil
		}
	}
}

func (x *xmlReader) truncated() error { return truncated(x.part, x.base+int64(x.end)) }

// tag reads what begins with "<". n is 0 if its end is not there yet, and kind is 0
// for a comment or a declaration.
func (x *xmlReader) tag(b []byte) (kind xmlKind, n int, err error) {
	if len(b) < 2 {
		return 0, 0, nil
	}
	switch b[1] {
	case '!':
		return x.comment(b)
	case '?':
		return x.declaration(b)
	case '/':
		return x.endTag(b)
	}
	return x.startTag(b)
}

func (x *xmlReader) comment(b []byte) (kind xmlKind, n int, err error) {
	if !bytes.HasPrefix(b, []byte("<!--")) {
		if len(b) < 4 {
			return 0, 0, nil
		}
		return 0, 0, x.fail("it has a declaration or CDATA, %.20q, which repositories have not", b)
	}
	i := bytes.Index(b[4:], []byte("--"))
	switch {
	case i < 0 || 4+i+2 >= len(b):
		return 0, 0, nil
	case b[4+i+2] != '>':
		return 0, 0, x.fail("a comment has two hyphens in it")
	}
	return 0, 4 + i + 3, nil
}

// declaration reads <?xml version="1.0" encoding="UTF-8"?>, which may be at the
// beginning only.
func (x *xmlReader) declaration(b []byte) (kind xmlKind, n int, err error) {
	i := bytes.Index(b, []byte("?>"))
	if i < 0 {
		return 0, 0, nil
	}
	rest, ok := bytes.CutPrefix(b[:i], []byte("<?xml"))
	if !ok || x.base+int64(x.pos) != 0 || len(rest) == 0 || !isXMLSpace(rest[0]) {
		return 0, 0, x.fail("it has a processing instruction, %.20q, which repositories have not", b)
	}
	size, isWhole, err := x.readAttrs(rest)
	if err != nil {
		return 0, 0, err
	}
	if !isWhole || size != len(rest) {
		return 0, 0, x.fail("the declaration of XML is not one")
	}
	for _, a := range x.attrs {
		switch value := string(a.value); string(a.name) {
		case "version":
			ok = value == "1.0"
		case "encoding":
			ok = strings.EqualFold(value, "utf-8")
		case "standalone":
			ok = value == "yes" || value == "no"
		default:
			ok = false
		}
		if !ok {
			return 0, 0, x.fail("it is not XML 1.0 in UTF-8: %s=%q", a.name, a.value)
		}
	}
	if x.attr("version") == nil {
		return 0, 0, x.fail("it does not say which version of XML it is")
	}
	return 0, i + 2, nil
}

func (x *xmlReader) endTag(b []byte) (kind xmlKind, n int, err error) {
	i := bytes.IndexByte(b, '>')
	if i < 0 {
		return 0, 0, nil
	}
	name := bytes.TrimRight(b[2:i], " \t\r\n")
	if x.depth() == 0 || !bytes.Equal(name, x.open()) {
		return 0, 0, x.fail("the end %.40q has no beginning", b[:i+1])
	}
	x.name = name
	x.close()
	return xmlEnd, i + 1, nil
}

// open returns the name of the innermost element.
func (x *xmlReader) open() []byte {
	start := 0
	if n := len(x.ends); n > 1 {
		start = x.ends[n-2]
	}
	return x.names[start:]
}

func (x *xmlReader) close() {
	n := len(x.open())
	x.names = x.names[:len(x.names)-n]
	x.ends = x.ends[:len(x.ends)-1]
}

func (x *xmlReader) startTag(b []byte) (kind xmlKind, n int, err error) {
	name := xmlName(b[1:])
	n = 1 + len(name)
	if n == len(b) {
		return 0, 0, nil
	}
	if !isXMLName(name) {
		return 0, 0, x.fail("%.20q does not begin an element", b)
	}
	size, isWhole, err := x.readAttrs(b[n:])
	if err != nil || !isWhole {
		return 0, 0, err
	}
	n += size
	isEmpty := n < len(b) && b[n] == '/'
	if isEmpty {
		n++
	}
	switch {
	case n >= len(b):
		return 0, 0, nil
	case b[n] != '>':
		return 0, 0, x.fail("the element %s does not end where it should", name)
	case x.depth() == 0 && x.hasRoot:
		return 0, 0, x.fail("there is a second outermost element")
	case x.depth() == maxXMLDepth:
		return 0, 0, x.fail("elements are more than %d deep", maxXMLDepth)
	}
	x.hasRoot = true
	x.names = append(x.names, name...)
	x.ends = append(x.ends, len(x.names))
	x.name, x.emptyTag = name, isEmpty
	return xmlStart, n + 1, nil
}

// readAttrs reads attributes, and returns how many bytes they and the spaces around
// them have. isWhole is false if b ends in one of them.
func (x *xmlReader) readAttrs(b []byte) (n int, isWhole bool, err error) {
	x.attrs, x.unescaped = x.attrs[:0], x.unescaped[:0]
	for {
		spaces := n
		for n < len(b) && isXMLSpace(b[n]) {
			n++
		}
		if n == len(b) || b[n] == '>' || b[n] == '/' {
			return n, true, nil
		}
		name := xmlName(b[n:])
		if n+len(name) == len(b) {
			return 0, false, nil
		}
		if n == spaces || !isXMLName(name) || len(x.attrs) == maxXMLAttrs {
			return 0, false, x.fail("%.20q is not an attribute, or one too many", b[n:])
		}
		n += len(name)
		for n < len(b) && isXMLSpace(b[n]) {
			n++
		}
		if n < len(b) && b[n] != '=' {
			return 0, false, x.fail("the attribute %s has no value", name)
		}
		n++
		for n < len(b) && isXMLSpace(b[n]) {
			n++
		}
		if n >= len(b) {
			return 0, false, nil
		}
		quote := b[n]
		if quote != '"' && quote != '\'' {
			return 0, false, x.fail("the value of the attribute %s is not in quotes", name)
		}
		n++
		end := bytes.IndexByte(b[n:], quote)
		if end < 0 {
			return 0, false, nil
		}
		value, err := x.unescape(b[n:n+end], false)
		if err != nil {
			return 0, false, err
		}
		if x.attr(string(name)) != nil {
			return 0, false, x.fail("the attribute %s is there twice", name)
		}
		x.attrs = append(x.attrs, xmlAttr{name, value})
		n += end + 1
	}
}

// isXMLPlain are the bytes that stand for themselves wherever they are.
var isXMLPlain = func() (plain [256]bool) {
	for c := ' '; c < 0x80; c++ {
		plain[c] = c != '<' && c != '>' && c != '&'
	}
	plain['\t'], plain['\n'] = true, true
	return plain
}()

// unescape checks text or the value of an attribute, and returns it with its
// entities replaced. The result is never nil.
func (x *xmlReader) unescape(b []byte, isText bool) ([]byte, error) {
	plain, ascii := true, true
	for i, c := range b {
		if isXMLPlain[c] {
			continue
		}
		switch {
		case c >= 0x80:
			ascii = false
		case c == '&' || c == '\r':
			plain = false
		case c < ' ' && c != '\t' && c != '\n':
			return nil, x.fail("it has the character %#x, which XML does not allow", c)
		case c == '<':
			return nil, x.fail("the value of an attribute has a \"<\"")
		case c == '>' && isText && i > 1 && b[i-1] == ']' && b[i-2] == ']':
			return nil, x.fail("a text has \"]]>\"")
		}
	}
	if !ascii && !isXMLUTF8(b) {
		return nil, x.fail("it has bytes that are not UTF-8, or a character that XML does not allow")
	}
	if plain {
		return b, nil
	}
	if isText {
		x.unescaped = x.unescaped[:0]
	}
	start := len(x.unescaped)
	for i := 0; i < len(b); {
		switch c := b[i]; c {
		case '\r': // ends a line, with a newline behind it or without
			if i++; i == len(b) || b[i] != '\n' {
				x.unescaped = append(x.unescaped, '\n')
			}
		case '&':
			end := bytes.IndexByte(b[i:min(len(b), i+xmlMaxEntity)], ';')
			r, ok := rune(0), false
			if end > 0 {
				r, ok = xmlEntity(b[i+1 : i+end])
			}
			if !ok {
				return nil, x.fail("%.12q is not an entity that repositories have", b[i:])
			}
			x.unescaped = utf8.AppendRune(x.unescaped, r)
			i += end + 1
		default:
			x.unescaped = append(x.unescaped, c)
			i++
		}
	}
	return x.unescaped[start:len(x.unescaped):len(x.unescaped)], nil
}

// xmlEntity returns the character of &NAME; or &#NUMBER;.
func xmlEntity(name []byte) (r rune, ok bool) {
	switch string(name) {
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "amp":
		return '&', true
	case "quot":
		return '"', true
	case "apos":
		return '\'', true
	}
	if len(name) < 2 || name[0] != '#' {
		return 0, false
	}
	digits, base := name[1:], rune(10)
	if digits[0] == 'x' {
		digits, base = digits[1:], 16
	}
	for _, c := range digits {
		d := rune(c)
		switch {
		case c >= '0' && c <= '9':
			d -= '0'
		case base == 16 && c >= 'a' && c <= 'f':
			d -= 'a' - 10
		case base == 16 && c >= 'A' && c <= 'F':
			d -= 'A' - 10
		default:
			return 0, false
		}
		r = r*base + d // of ten digits at the most, of which eight are of a larger number than there are
		if r > utf8.MaxRune {
			return 0, false
		}
	}
	return r, len(digits) > 0 && isXMLChar(r)
}

// isXMLChar reports whether XML allows a character (XML 1.0, 2.2).
func isXMLChar(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd || r >= 0x10000 && r <= utf8.MaxRune
}

// isXMLUTF8 is for bytes whose ASCII was looked at.
func isXMLUTF8(b []byte) bool {
	return utf8.Valid(b) && !bytes.Contains(b, []byte("\xef\xbf\xbe")) && !bytes.Contains(b, []byte("\xef\xbf\xbf"))
}

func isXMLSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// xmlName returns the name that b begins with: names in repositories are ASCII.
func xmlName(b []byte) []byte {
	for i, c := range b {
		isNameByte := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == ':'
		if !isNameByte {
			return b[:i]
		}
	}
	return b
}

// isXMLName reports whether what [xmlName] returned is a name, with a prefix or
// without.
func isXMLName(name []byte) bool {
	prefix, local, hasPrefix := bytes.Cut(name, []byte(":"))
	return isXMLWord(prefix) && (!hasPrefix || isXMLWord(local) && !bytes.Contains(local, []byte(":")))
}

func isXMLWord(b []byte) bool {
	return len(b) > 0 && (b[0] >= 'a' && b[0] <= 'z' || b[0] >= 'A' && b[0] <= 'Z' || b[0] == '_')
}
