//go:build system

package e2e

// debianSource is a source package of Debian 12, with what is expected of it.
type debianSource struct {
	name       string
	what       string // it is an example of
	noSequence bool   // debian/rules calls the programs of debhelper one by one, without dh
	parts      string // which packages are built, as in dpkg-buildpackage --build; all of them if empty
	once       bool   // it is built once with the addon and once without, as that takes long
	buildPath  bool   // its packages depend on the directory that it is built in, with the addon or without
	options    string // more of DEB_BUILD_OPTIONS
	env        string // a variable of the environment that it is built in
	passed     string // an expression for what the package's own tests say; empty where the build runs none

	edited []string // the programs that the addon edits, in the order of their paths; all else stays as it is

	installed []string // the packages that are installed
	worksWith string   // and those of Debian that the work needs
	work      string   // a script, run by root in a directory of its own
	want      string   // what it prints

	reprotest bool // it is built by reprotest as well
	piuparts  bool // piuparts installs, upgrades and purges the packages as well
}

// automake is what tests say that are run by the Makefile of automake.
const automake = `(?m)^(PASS|XFAIL|FAIL|ERROR): \S+`

var debianSources = []debianSource{
	{
		name: "jq", what: "autotools; a program with a library of its own",
		env:       "enable_valgrind=no", // for configure; its tests take ten minutes otherwise
		passed:    automake,
		edited:    []string{"usr/bin/jq"},
		installed: []string{"libjq1", "jq"},
		work:      `echo '{"a":[1,2,{"b":"world"}]}' | jq -c '.a[2].b | test("w.rld"), length'`,
		want:      "true\n5\n",
	},
	{
		name: "zlib", what: "without dh; libraries for several architectures, and for the installer",
		noSequence: true,
		passed:     `\*\*\* zlib.* test OK \*\*\*`,
	},
	{
		name: "expat", what: "without dh; a multi-arch library, and one for the installer",
		noSequence: true,
		edited:     []string{"usr/bin/xmlwf"},
		installed:  []string{"libexpat1", "expat"},
		work:       `echo '<a  b="1"><c></c></a>' >a.xml; echo '<a>' >b.xml; mkdir out; xmlwf -d out a.xml && cat out/a.xml; xmlwf b.xml || true`,
		want:       "<a b=\"1\"><c></c></a>b.xml:2:0: no element found\n",
		reprotest:  true,
		piuparts:   true,
	},
	{
		name: "kmod", what: "a program in /bin with many names, and once more for the installer",
		passed:    automake,
		edited:    []string{"bin/kmod"},
		installed: []string{"libkmod2", "kmod"},
		work:      `mkdir -p lib/modules/6.1; touch lib/modules/6.1/modules.order; depmod -b $PWD 6.1 2>err; ls lib/modules/6.1/modules.dep.bin; kmod --version | sed 1d`,
		want:      "lib/modules/6.1/modules.dep.bin\n+ZSTD +XZ -ZLIB +LIBCRYPTO -EXPERIMENTAL\n",
		reprotest: true,
	},
	{
		name: "libzip", what: "CMake; programs with a library of the same source",
		buildPath: true, // as CMake makes the RPATH that a program has until it is installed as long as that
		passed:    `\d+% tests passed, \d+ tests failed out of \d+`,
		edited:    []string{"usr/bin/zipcmp", "usr/bin/zipmerge", "usr/bin/ziptool"},
		installed: []string{"libzip4", "zipcmp", "zipmerge", "ziptool"},
		work:      `echo hello >a; ziptool -n z.zip add_file b a 0 -1; ziptool z.zip cat 0; zipmerge m.zip z.zip; zipcmp m.zip z.zip; ziptool m.zip get_num_entries 0`,
		want:      "hello\n1\n",
		piuparts:  true,
	},
	{
		name: "brotli", what: "CMake, and an extension of Python",
		buildPath: true, // as CMake makes the RPATH that a program has until it is installed as long as that
		passed:    `\d+% tests passed, \d+ tests failed out of \d+|Ran \d+ tests`,
		edited:    []string{"usr/bin/brotli"},
		installed: []string{"libbrotli1", "brotli"},
		work:      `echo hello | brotli -c | brotli -dc`,
		want:      "hello\n",
	},
	{
		name: "dconf", what: "Meson and Vala; a module for programs of others",
		passed:    `(?m)^(Ok|Fail): +\d+`,
		edited:    []string{"usr/bin/dconf", "usr/libexec/dconf-service"},
		installed: []string{"libdconf1", "dconf-cli"},
		work:      `mkdir db.d; printf '[a/b]\nc=42\n' >db.d/x; dconf compile db db.d; head -c 8 db`,
		want:      "GVariant",
	},
	{
		name: "rust-fd-find", what: "Rust; a program below /usr/lib with a link in /usr/bin",
		passed:    `(?m)^test result: [^;]*; \d+ failed`,
		edited:    []string{"usr/lib/cargo/bin/fd"},
		installed: []string{"fd-find"},
		work:      `mkdir -p a/b; touch a/b/hello.txt a/b/other; fdfind '\.txt$'`,
		want:      "a/b/hello.txt\n",
	},
	{
		name: "aerc", what: "Go with cgo",
		passed:    `(?m)^ok +\S+`,
		edited:    []string{"usr/bin/aerc"},
		installed: []string{"aerc"},
		work:      `aerc -v`,
		want:      "aerc 0.14.0 +notmuch (go1.19.8 amd64 linux)\n",
	},
	{
		name: "lighttpd", what: "a server with plugins",
		passed:    automake,
		edited:    []string{"usr/sbin/lighttpd"},
		installed: []string{"lighttpd", "lighttpd-mod-deflate", "lighttpd-mod-openssl"},
		worksWith: "curl",
		work: `cat >conf <<'END'
server.modules = ("mod_deflate")
server.document-root = "/tmp/work"
server.bind = "127.0.0.1"
server.port = 8080
mimetype.assign = (".txt" => "text/plain")
deflate.mimetypes = ("text/plain")
deflate.allowed-encodings = ("br")
END
seq 1000 >a.txt
lighttpd -D -f conf 2>log & pid=$!
until curl -s -o /dev/null http://127.0.0.1:8080/a.txt; do sleep 0.1; kill -0 $pid; done
curl -s --compressed -D head -o got http://127.0.0.1:8080/a.txt; grep -i ^content-encoding head | tr -d '\r'; cmp got a.txt; kill $pid`,
		want:      "Content-Encoding: br\n",
		reprotest: true,
		piuparts:  true,
	},
	{
		name: "git", what: "many programs; the packages for all architectures are not built, and its tests, which take an hour, do not run",
		once: true, parts: "any", options: "nocheck",
		edited:    []string{"usr/bin/git"},
		installed: []string{"git"},
		work: `export HOME=$PWD; git config --global user.email a@example.org; git config --global user.name A; git config --global init.defaultBranch main
git init -q a; cd a; echo hello >file; git add file; git commit -q -m first; cd ..; git clone -q file://$PWD/a b; cd b; git log --format=%s; git grep -P 'h(?=ello)'; git fsck 2>/dev/null; git archive HEAD | tar -xO file`,
		want: "first\nfile:hello\nhello\n",
	},
}
