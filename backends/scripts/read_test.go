package scripts

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// shown reads a postinst and returns what it would do as text, a line for each effect.
func shown(body string, files ...string) string { return show(Read(contextOf(body, files...))) }

func contextOf(body string, files ...string) Context {
	c := Context{
		Package: &pkginfo.Package{Name: "tool", Version: "1.2-3", Architecture: "amd64", Scripts: []pkginfo.Script{
			{Name: "postinst", Body: body, Arguments: []string{"configure", ""}},
		}},
		Triplet: "x86_64-linux-gnu", Files: map[string]fs.FileMode{}, Compare: strings.Compare,
	}
	for _, f := range files {
		mode := fs.FileMode(0o755)
		if strings.HasSuffix(f, "/") {
			mode |= fs.ModeDir
		}
		c.Files[strings.TrimSuffix(f, "/")] = mode
	}
	return c
}

func show(e pkginfo.Effects) string {
	var out strings.Builder
	for _, a := range e.Alternatives {
		fmt.Fprintf(&out, "%s %s %s %d\n", a.Name, a.Link, a.Path, a.Priority)
		for _, s := range a.Slaves {
			fmt.Fprintf(&out, "  %s %s %s\n", s.Name, s.Link, s.Path)
		}
	}
	for _, d := range e.Made.Directories {
		fmt.Fprintln(&out, strings.TrimRight(fmt.Sprint("dir ", d.Path, " ", d.Mode, " ", d.Owner), " "))
	}
	for _, c := range e.Made.Copies {
		fmt.Fprintln(&out, "copy", c.From, c.To)
	}
	for _, u := range e.Made.Users {
		fmt.Fprintln(&out, "user", u)
		for _, a := range e.Made.Accounts {
			if a.Name == u {
				fmt.Fprintf(&out, "  group %q home %q shell %q\n", a.Group, a.Home, a.Shell)
			}
		}
	}
	for _, g := range e.Made.Groups {
		fmt.Fprintln(&out, "group", g)
	}
	for _, u := range e.Unread {
		fmt.Fprintln(&out, "?", u)
	}
	return out.String()
}

// TestConfiguration: ucf makes configuration of files that the package has, and of others
// nobody knows what.
func TestConfiguration(t *testing.T) {
	const body = "#!/bin/sh\nucf --three-way --debconf-ok /usr/share/tool/a /etc/tool/a\nucf /usr/share/tool/none /etc/tool/b\nucf $(mktemp) /etc/tool/c\n" +
		"ucf --purge /etc/tool/d\nucf /usr/share/tool/a /var/lib/tool/e\nucf /usr/share/tool /etc/tool/f\n"
	want := "copy /usr/share/tool/a /etc/tool/a\n? postinst, line 4: ucf ? /etc/tool/c\n"
	if have := shown(body, "/usr/share/tool/", "/usr/share/tool/a"); have != want {
		t.Errorf("it would do %q", have)
	}
}

// add is a line that registers x with a priority that tells what the shell made of
// words.
const add = "update-alternatives --install /usr/bin/x x "

func TestRead(t *testing.T) {
	for name, test := range map[string]struct {
		body  string
		files []string
		want  string
	}{
		"literal": {
			body: "#!/bin/sh\nset -e\nif [ \"$1\" = configure ]; then\n update-alternatives --quiet --install /usr/bin/editor editor /bin/tool 50 \\\n  --slave /usr/share/man/man1/editor.1.gz editor.1.gz /usr/share/man/man1/tool.1.gz\nfi\n",
			want: "editor /usr/bin/editor /usr/bin/tool 50\n  editor.1.gz /usr/share/man/man1/editor.1.gz /usr/share/man/man1/tool.1.gz\n",
		},
		"computed in a loop": {
			body: "#!/bin/sh\nset -e\nbase=/usr/lib/jvm/tool-17\nfor i in java keytool; do\n unset slave || true\n if [ -e $base/man/$i.1 ]; then\n  slave=\"--slave /usr/share/man/man1/$i.1 $i.1 $base/man/$i.1\"\n fi\n" +
				" update-alternatives --install /usr/bin/$i $i $base/bin/$i 1711 $slave\ndone\n",
			files: []string{"/usr/lib/jvm/tool-17/man/java.1"},
			want:  "java /usr/bin/java /usr/lib/jvm/tool-17/bin/java 1711\n  java.1 /usr/share/man/man1/java.1 /usr/lib/jvm/tool-17/man/java.1\nkeytool /usr/bin/keytool /usr/lib/jvm/tool-17/bin/keytool 1711\n",
		},
		"not on an upgrade": {
			body: "#!/bin/sh\nif [ \"$1\" = configure ] && dpkg --compare-versions \"$2\" lt 1.0; then " + add + "/usr/bin/a 1; fi\nif dpkg --compare-versions \"$2\" gt 1.0; then " + add + "/usr/bin/b 2; fi\nif dpkg --compare-versions \"$2\" lt-nl 1.0; then " + add + "/usr/bin/c 3; fi\n",
			want: "x /usr/bin/x /usr/bin/a 1\n",
		},
		"case and functions": {
			body: "#!/bin/sh\nadd() { local p=$1; shift; update-alternatives --install /usr/bin/$p $p \"$@\"; }\ncase \"$1\" in\n abort-*) exit 0 ;;\n configure|reconfigure) add x /usr/bin/tool 7 ;;\n *) exit 1 ;;\nesac\n",
			want: "x /usr/bin/x /usr/bin/tool 7\n",
		},
		"removed again": {
			body: "#!/bin/sh\n" + add + "/usr/bin/a 1\n" + add + "/usr/bin/b 2\nupdate-alternatives --remove x /usr/bin/a\n",
			want: "x /usr/bin/x /usr/bin/b 2\n",
		},
		"registered twice": {
			body: "#!/bin/sh\n" + add + "/usr/bin/a 1\n" + add + "/usr/bin/a 2\n",
			want: "x /usr/bin/x /usr/bin/a 2\n",
		},
		"set -e": {
			body: "#!/bin/sh\nset -e\nfalse || true\nif false; then :; fi\n! true\nx=$(false) || :\n" + add + "/usr/bin/a 1\nfalse\n" + add + "/usr/bin/b 2\n",
			want: "x /usr/bin/x /usr/bin/a 1\n",
		},
		"exit": {
			body: "#!/bin/sh\n(exit 1)\necho $(exit 3)\n" + add + "/usr/bin/a 1\nexit 0\n" + add + "/usr/bin/b 2\n",
			want: "x /usr/bin/x /usr/bin/a 1\n",
		},
		"parameters": {
			body: "#!/bin/sh\nf=/usr/bin/php8.4.tool\nv=${f##*/php}; v=${v%.tool}\n" + add + "${f%.*} $((${v%.*}*10+${v#*.}))\n" + add + "/usr/bin/${f:+set}${nothing:-default}${f%%[0-9]*} 1\n",
			want: "x /usr/bin/x /usr/bin/php8.4 84\nx /usr/bin/x /usr/bin/setdefault/usr/bin/php 1\n",
		},
		"pipes": {
			body: "#!/bin/sh\nv=$(echo 'tool-17.0.1-x' | sed -e 's/^tool-\\([0-9]*\\)\\..*/\\1/' | tr -d ' ')\nw=$(echo a.b.c | cut -d. -f2-3)\n" + add + "/usr/bin/$w `expr $v \\* 2`\n" +
				"printf 'one 1\\ntwo 2\\n' | grep -v one | while read name n; do " + add + "/usr/bin/$name $n; done\n" + add + "/usr/bin/$(basename /a/b.sh .sh)$(dirname /c/d/e) 5\n",
			want: "x /usr/bin/x /usr/bin/b.c 34\nx /usr/bin/x /usr/bin/two 2\nx /usr/bin/x /usr/bin/b/c/d 5\n",
		},
		"here-document": {
			body: "#!/bin/sh\np=9\nwhile read a b; do " + add + "/usr/bin/$a $b; done <<EOF\none $p\nEOF\nwhile read a b; do " + add + "/usr/bin/$a 1; done <<'EOF'\n$p x\nEOF\n",
			want: "x /usr/bin/x /usr/bin/one 9\nx /usr/bin/x /usr/bin/$p 1\n",
		},
		"through an alternative": {
			body:  "#!/bin/sh\nupdate-alternatives --install /usr/share/theme theme /usr/share/themes/tool 1\nupdate-alternatives --install /usr/loop loop /usr/loop/loop 1\n[ ! -e /usr/share/theme/a ] || " + add + "/usr/share/theme/a 1\n[ ! -e /usr/share/theme/b ] || " + add + "/usr/share/theme/b 1\n[ -e /usr/loop/x ]\n",
			files: []string{"/usr/loop/loop", "/usr/share/themes/tool/", "/usr/share/themes/tool/a"},
			want:  "theme /usr/share/theme /usr/share/themes/tool 1\nloop /usr/loop /usr/loop/loop 1\nx /usr/bin/x /usr/share/theme/a 1\n",
		},
		"own files": {
			body:  "#!/bin/sh\n[ -x /bin/tool ] && " + add + "/bin/tool 1\n[ -x /usr/bin/other ] && " + add + "/usr/bin/other 2\nif test -d /usr/share/tool -a ! -f /usr/share/tool; then " + add + "/usr/share/tool 3; fi\nfor f in /usr/share/tool/*.x; do " + add + "$f 4; done\nfor f in /nothing/*; do echo $f; done\n",
			files: []string{"/usr/bin/tool", "/usr/share/tool/", "/usr/share/tool/a.x", "/usr/share/tool/b.x", "/usr/share/tool/c.y"},
			want:  "x /usr/bin/x /usr/bin/tool 1\nx /usr/bin/x /usr/share/tool 3\nx /usr/bin/x /usr/share/tool/a.x 4\nx /usr/bin/x /usr/share/tool/b.x 4\n",
		},
		"is there": {
			body: "#!/bin/sh\nif command -v update-alternatives >/dev/null && which dpkg >/dev/null && [ -x /usr/sbin/update-alternatives -o -x /usr/bin/update-alternatives ]; then " + add + "/usr/bin/a 1; fi\ncommand -v unheard-of || " + add + "/usr/bin/b 2\n",
			want: "x /usr/bin/x /usr/bin/a 1\nx /usr/bin/x /usr/bin/b 2\n",
		},
		"architecture": {
			body: "#!/bin/sh\nm=$(dpkg-architecture -qDEB_HOST_MULTIARCH)\nupdate-alternatives --install /usr/lib/$m/x.so x.so-$m /usr/lib/$m/tool/x.so 10\n" + add + "/usr/bin/$(uname -m)-$(dpkg --print-architecture) 1\n",
			want: "x.so-x86_64-linux-gnu /usr/lib/x86_64-linux-gnu/x.so /usr/lib/x86_64-linux-gnu/tool/x.so 10\nx /usr/bin/x /usr/bin/x86_64-amd64 1\n",
		},
		"bash": {
			body: "#!/bin/bash\nlist=(one two)\nlist+=(three)\nfor ((i = 0; i < ${#list[@]}; i++)); do\n if [[ ${list[i]} == t* && ! -e /x ]]; then " + add + "/usr/bin/${list[$i]} $i; fi\ndone\n" + add + "/usr/bin/{a,b}\n" + add + "/usr/bin/${list[0]/n/N} ${#list[1]}\n",
			want: "x /usr/bin/x /usr/bin/two 1\nx /usr/bin/x /usr/bin/three 2\nx /usr/bin/x /usr/bin/oNe 3\n? postinst, line 7: update-alternatives --install /usr/bin/x x /usr/bin/a /usr/bin/b\n",
		},
		"what it makes": {
			body: "#!/bin/sh\nmkdir -p -m 0750 /var/lib/tool /var/lib /tmp/x\ninstall -d -o tool -g adm -m 700 /var/log/tool\nmkdir /run/tool\nchown tool:tool /run/tool\nchmod 1777 /run/tool\n" +
				"if ! getent passwd tool >/dev/null; then adduser --system --group --home /var/lib/tool --gecos 'A tool' --quiet tool; fi\nid -u other >/dev/null 2>&1 || useradd -r -d /x -s /bin/false other\nuseradd -r -d /y tool\naddgroup --system third\nadduser tool third\nadduser --system --ingroup third --home=$(cat /etc/home)/x --shell /bin/bash fifth\nsystemd-sysusers - <<EOF\nu four - - -\nEOF\n",
			want: "dir /run/tool 1777 tool:tool\ndir /var/lib/tool 0750\ndir /var/log/tool 700 tool:adm\nuser fifth\n  group \"third\" home \"\" shell \"/bin/bash\"\nuser four\nuser other\n  group \"\" home \"/x\" shell \"/bin/false\"\nuser tool\n  group \"\" home \"/var/lib/tool\" shell \"\"\ngroup four\ngroup third\ngroup tool\n",
		},
		"who was made": {
			body: "#!/bin/sh\nset -e\n[ \"`id -u tool`\" -eq 0 ] && mkdir /var/lib/one || true\nadduser --system --group tool\nif [ \"`id -u tool`\" -eq 0 ]; then\n exit 1\nfi\nid tool\ngetent passwd tool\ngetent group tool\ngetent passwd other || mkdir /var/lib/two\nmkdir /var/lib/three\n",
			want: "dir /var/lib/three\ndir /var/lib/two\nuser tool\ngroup tool\n",
		},
		"unknown": {
			body: "#!/bin/sh\n. /usr/share/debconf/confmodule\ndb_get tool/choice\nif [ \"$RET\" = true ]; then " + add + "/usr/bin/a 1; fi\n" + add + "/usr/bin/$RET 2\n" + add + "/usr/bin/b 3\nv=$(cat /etc/version)\nmkdir /var/lib/$v\n",
			want: "x /usr/bin/x /usr/bin/b 3\n? postinst, line 4: update-alternatives depends on what is not known\n? postinst, line 5: update-alternatives --install /usr/bin/x x /usr/bin/? 2\n? postinst, line 8: makes the directory /var/lib/?\n",
		},
		"another language": {body: "#!/usr/bin/perl\nprint 1;\n", want: "? postinst: it is not a shell script but one for /usr/bin/perl\n"},
		"no shell at all":  {body: "#!/bin/sh\n" + add + "/usr/bin/a 1\nif then (\n", want: "x /usr/bin/x /usr/bin/a 1\n? postinst, line 2: what follows is not understood: 3:1: `if` must be followed by a statement list\n"},
		"wrong arguments":  {body: "#!/bin/sh\n" + add + "/usr/bin/a high\n" + add + "relative 1\nupdate-alternatives\n", want: "? postinst, line 2: update-alternatives --install /usr/bin/x x /usr/bin/a high\n? postinst, line 3: update-alternatives --install /usr/bin/x x relative 1\n"},
		"eval and set":     {body: "#!/bin/sh\nset -- a b c\nshift\nname=two\neval \"$name=5\"\neval \"" + add + "/usr/bin/$2 \\$two\"\n", want: "x /usr/bin/x /usr/bin/c 5\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, shown(test.body, test.files...)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestSysusers has users that a package has in a file, and a script that names another.
func TestSysusers(t *testing.T) {
	c := contextOf("#!/bin/sh\nsystemd-sysusers ${DPKG_ROOT:+--root=\"$DPKG_ROOT\"} tool.conf\nsystemd-sysusers other.conf\nmkdir -m $(stat -c %a /etc) /var/lib/tool\n")
	c.Sysusers = map[string]string{"tool.conf": "# users\nu one - \"A user\" /var/lib/one\nu! two 52:adm - - /bin/sh\ng three -\nm one adm\nu\n"}
	want := "dir /var/lib/tool\nuser one\n  group \"\" home \"/var/lib/one\" shell \"\"\nuser two\n  group \"adm\" home \"\" shell \"/bin/sh\"\ngroup one\ngroup three\n? postinst, line 3: makes the users of other.conf\n"
	if diff := cmp.Diff(want, show(Read(c))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	c = contextOf("#!/bin/sh\n")
	c.Sysusers = map[string]string{"tool.conf": `u single - 'A b' /var/lib/x /bin/sh
u escaped - "a \"b\" c" /var/lib/x /bin/sh
u inside - a' 'b\ "c d" "/var/lib/"x '/bin'/sh
u empty - "" /var/lib/x /bin/sh
u backslash - '\'' /var/lib/x '-'
u open - "a b /var/lib/x /bin/sh
u last - - /var/lib/x \`}
	want = ""
	for _, user := range []string{"backslash", "empty", "escaped", "inside", "single"} {
		want += "user " + user + "\n  group \"\" home \"/var/lib/x\" shell \"" + map[bool]string{true: "/bin/sh"}[user != "backslash"] + "\"\n"
	}
	want += "group backslash\ngroup empty\ngroup escaped\ngroup inside\ngroup single\n"
	if diff := cmp.Diff(want, show(Read(c))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	c.Package.Scripts = nil
	c.Sysusers["tool.conf"] = strings.Repeat("u x\n", maxSteps)
	if e := Read(c); len(e.Made.Users) != 1 || len(e.Unread) != 1 {
		t.Errorf("%+v", e)
	}
}

// TestReadSeveral has the scripts that run at a first installation, in their order, and
// those that do not.
func TestReadSeveral(t *testing.T) {
	c := contextOf("")
	c.Package.Scripts = []pkginfo.Script{
		{Name: "pre", Interpreter: "/bin/sh", Body: "getent group adm2 >/dev/null || groupadd -r adm2\nexit 0\n", Arguments: []string{"1"}},
		{Name: "post", Interpreter: "/bin/sh", Body: "if [ $1 -eq 1 ]; then /usr/sbin/alternatives --install /usr/bin/x x /usr/bin/a 10 --family f --follower /usr/bin/y y /usr/bin/b --initscript s; fi\n", Arguments: []string{"1"}},
		{Name: "preun", Interpreter: "/bin/sh", Body: add + "/usr/bin/gone 1\n"},
		{Name: "posttrans", Interpreter: "<lua>", Body: "posix.mkdir('/x')\n", Arguments: []string{"1"}},
	}
	want := "x /usr/bin/x /usr/bin/a 10\n  y /usr/bin/y /usr/bin/b\ngroup adm2\n? posttrans: it is not a shell script but one for <lua>\n"
	if diff := cmp.Diff(want, show(Read(c))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
