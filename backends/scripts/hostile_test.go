package scripts

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// hostile are scripts that want to hang, to fill the memory, or to get at the host.
var hostile = map[string]string{
	"endless loop":       "while :; do :; done\n",
	"endless until":      "until false; do x=1; done\n",
	"endless for":        "for ((;;)); do :; done\n",
	"endless pipe":       "while true; do echo y; done | cat\n",
	"endless recursion":  "f() { f; }; f\n",
	"fork bomb":          ":(){ :|:& };:\n",
	"exponential":        "f() { [ $1 -gt 0 ] || return; f $(($1-1)); f $(($1-1)); }; f 60\n",
	"doubling":           "x=aaaaaaaa\nfor i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24; do x=$x$x; done\n",
	"doubling a list":    "set -- a b c d\nfor i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24; do set -- \"$@\" \"$@\"; done\n",
	"doubling an array":  "a=(1 2)\nfor i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24; do a+=(\"${a[@]}\"); done\n",
	"doubling functions": "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24; do x=$(echo \"$x$x.\"); done\n",
	"long printf":        "x=$(printf '%s%s%s%s%s%s' " + strings.Repeat("aaaaaaaaaa ", 3000) + ")\nfor i in $x $x $x; do y=$y$x; done\n",
	"one long word":      "x=" + strings.Repeat("a", 30000) + "\ny=" + strings.Repeat("$x", 15000) + "\n",
	"long pattern":       "x=" + strings.Repeat("a", 20000) + "\necho ${x##" + strings.Repeat("*a", 400) + "b}\necho ${x//a/" + strings.Repeat("b", 20000) + "}\n",
	"braces":             "echo {1..1000000000}\n",
	"many braces":        "echo " + strings.Repeat("{a,b}", 60) + "\n",
	"brace overflow":     "echo {9223372036854775806..9223372036854775807}\n",
	"sequence":           "seq 1 1000000000\n",
	"sed that grows":     "echo " + strings.Repeat("a", 10000) + " | sed -e 's/.*/" + strings.Repeat("&", 10000) + "/'\n",
	"sed with groups":    "echo " + strings.Repeat("a", 20000) + " | sed -E -e 's/" + strings.Repeat("()", 400) + "/b/g'\n",
	"expression":         "x=" + strings.Repeat("a", 30000) + "\n[[ $x =~ (a{1,30}){1,30}b ]]\necho $x | grep -E '((a{30}){30})*b'\n",
	"xargs":              "echo " + strings.Repeat("a", 20000) + " | xargs -I{} echo " + strings.Repeat("{}", 20000) + "\n",
	"many alternatives":  "i=0\nwhile :; do i=$((i+1)); update-alternatives --install /usr/bin/x x$i /usr/bin/y $i; done\n",
	"many slaves":        "update-alternatives --install /usr/bin/x x /usr/bin/y 1 " + strings.Repeat("--slave /a b /c ", 3500) + "\n",
	"many directories":   "i=0\nwhile :; do i=$((i+1)); mkdir -p /var/lib/$i; done\n",
	"many notes":         "i=0\nwhile :; do i=$((i+1)); mkdir $(x)$i; done\n",
	"eval of itself":     "x='eval \"$x\"'; eval \"$x\"\n",
	"trap and exec":      "trap 'exec $0' EXIT; exec $0 \"$@\"\n",
	"here-documents":     strings.Repeat("cat <<EOF\n", 2000) + strings.Repeat("EOF\n", 2000),
	"numbers":            "echo $((1<<63)) $((1/0)) $((-9223372036854775807-2)) $((2**99999)) ${a[99999999999]} \nx[999999999]=1\n",

	"deep parentheses":    strings.Repeat("(", 60000),
	"deep subshells":      strings.Repeat("( ", 15000) + ":" + strings.Repeat(" )", 15000),
	"deep substitutions":  strings.Repeat("$(", 30000),
	"closed ones":         "echo " + strings.Repeat("$(echo ", 7000) + strings.Repeat(")", 7000),
	"deep braces":         strings.Repeat("{ ", 30000),
	"deep ifs":            strings.Repeat("if ", 20000),
	"deep arithmetic":     "echo $((" + strings.Repeat("(", 60000),
	"closed arithmetic":   "echo $((" + strings.Repeat("(", 30000) + "1" + strings.Repeat(")", 30000) + "))",
	"signs":               "echo $((" + strings.Repeat("-", 60000) + "1))",
	"negations":           "[[ " + strings.Repeat("! ", 30000) + "x ]]",
	"tests":               "[ " + strings.Repeat("! ", 30000) + "x ]\n[ " + strings.Repeat("( ", 30000) + "x ]",
	"deep expansions":     "echo " + strings.Repeat("${x:-", 12000) + strings.Repeat("}", 600),
	"deep quotes":         strings.Repeat("\"$(echo ", 8000),
	"backquotes":          "echo " + strings.Repeat("`", 60000),
	"deep functions":      strings.Repeat("f() {\n", 10000),
	"long list":           strings.Repeat("a && ", 12000) + "a",
	"long pipe":           strings.Repeat("a | ", 15000) + "a",
	"deep case":           strings.Repeat("case x in x) ", 4500),
	"deep process":        "echo " + strings.Repeat("<(", 30000),
	"deep declarations":   "declare -a " + strings.Repeat("x=(", 15000),
	"deep array indexes":  strings.Repeat("${a[", 15000),
	"deep extended globs": "echo " + strings.Repeat("@(", 30000),
}

// hosts are scripts that would read, write or run something of the host. What they
// read is not known, and what they would run records nothing.
var hosts = map[string]string{
	"cat":              "update-alternatives --install /usr/bin/x x \"/usr/bin/$(cat /etc/passwd)\" 1\n",
	"read":             "read line </etc/passwd; update-alternatives --install /usr/bin/x x \"/usr/bin/$line\" 1\n",
	"bash's file":      "update-alternatives --install /usr/bin/x x \"/usr/bin/$(</etc/passwd)\" 1\n",
	"network":          "read line </dev/tcp/127.0.0.1/22; update-alternatives --install /usr/bin/x x /usr/bin/\"$line\" 1\n",
	"glob":             "for f in /etc/*; do update-alternatives --install /usr/bin/x x $f 1; done\n",
	"relative glob":    "cd /etc; for f in pass*; do [ -e $f ] && update-alternatives --install /usr/bin/x x /etc/$f 1; done\n",
	"test":             "if [ -e /etc/passwd ] || [[ -f /etc/passwd ]]; then update-alternatives --install /usr/bin/x x /usr/bin/y 1; fi\n",
	"environment":      "update-alternatives --install /usr/bin/x x /usr/bin/$GOPATH$SHELL$HOSTNAME 1; [ -z \"$GOROOT$SSH_AUTH_SOCK$LANG\" ] || mkdir /var/lib/y\n",
	"mapfile":          "mapfile -t a </etc/passwd; update-alternatives --install /usr/bin/x x \"/usr/bin/${a[0]}\" 1\n",
	"source":           ". /etc/profile; source /etc/bash.bashrc\n",
	"command":          "sh -c 'update-alternatives --install /usr/bin/x x /usr/bin/y 1'; /bin/sh /etc/profile\n",
	"written and read": "echo 'update-alternatives --install /usr/bin/x x /usr/bin/y 1' >/tmp/x; . /tmp/x\n",
	"process":          "update-alternatives --install /usr/bin/x x /usr/bin/\"$(cat <(id))\" 1\n",
	"users":            "update-alternatives --install /usr/bin/x x ~nobody/bin 1; id nobody && mkdir /var/lib/z\n",
}

func TestHostile(t *testing.T) {
	for name, body := range hostile {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			e := Read(contextOf("#!/bin/bash\n" + body))
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			allocated, stack := (after.TotalAlloc-before.TotalAlloc)>>20, after.StackSys>>20
			if took > time.Minute || allocated > 256 || stack > 128 {
				t.Errorf("it took %v, %d MiB, and stacks of %d MiB", took, allocated, stack)
			}
			t.Logf("%v, %d MiB allocated, %d MiB of stacks: %d alternatives, %q", took.Round(time.Millisecond), allocated, stack, len(e.Alternatives), e.Unread)
		})
	}
}

func TestHost(t *testing.T) {
	t.Setenv("GOPATH", "secret")
	for name, body := range hosts {
		t.Run(name, func(t *testing.T) {
			e := Read(contextOf("#!/bin/bash\n" + body))
			for _, a := range e.Alternatives {
				if a.Path != "/usr/bin" && !strings.Contains(a.Path, "*") {
					t.Errorf("it knows %+v", a)
				}
			}
			if len(e.Made.Directories) > 0 {
				t.Errorf("it knows %+v", e.Made)
			}
		})
	}
}
