//go:build system

package e2e

// programCase is one program of another release, and something that it is asked to do.
type programCase struct {
	name     string // of the program
	release  string
	packages string // that are installed by name, and whose commands come first; more come with them
	asked    string // what it is asked to do, for people
	only     string // "root" or "user" where it is meant for one of them
	display  bool   // it needs an X server
	alone    bool   // a command of its own installs it, whose refusal is no other's

	// script has a directory of its own, which is its HOME, and the loopback
	// interface. What it starts ends with it. It may call what programPrelude has.
	script string

	// want is a regular expression for all that it prints on standard output.
	want string
}

// programPrelude has what scripts of cases call.
const programPrelude = `
# within COMMAND...: has the command succeed within twenty seconds
within() {
	tries=0
	until "$@" >within.log 2>&1; do
		tries=$((tries+1))
		[ $tries -lt 100 ] || { echo "in vain: $*"; cat within.log; return 1; }
		sleep 0.2
	done
	rm -f within.log
}

# window EXPRESSION: prints the title of a window that matches, once there is one, and
# something is drawn on the screen
window() {
	within grep -q -E -e "$1" .windows
	grep -m 1 -o -E -e "$1" .windows
	within grep -q 'drawn' .screen
	cat .screen
}

# pdf TEXT: prints a document of one page
pdf() {
	text="BT /F1 24 Tf 20 100 Td ($1) Tj ET"
	printf '%%PDF-1.4\n1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj\n2 0 obj <</Type/Pages/Kids[3 0 R]/Count 1>> endobj\n'
	printf '3 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Resources<</Font<</F1 4 0 R>>>>/Contents 5 0 R>> endobj\n'
	printf '4 0 obj <</Type/Font/Subtype/Type1/BaseFont/Helvetica>> endobj\n5 0 obj <</Length %d>> stream\n%s\nendstream endobj\n' ${#text} "$text"
	printf 'trailer <</Root 1 0 R/Size 6>>\n%%%%EOF\n'
}

# picture: prints a picture of 60 by 40 points in the format PPM
picture() {
	printf 'P6\n60 40\n255\n'
	head -c 3600 /dev/zero | tr '\0' '\377'
	head -c 3600 /dev/zero
}

# wave: prints a twentieth of a second of a rectangular tone in the format WAV
wave() {
	printf 'RIFF\144\21\0\0WAVEfmt \20\0\0\0\1\0\1\0\104\254\0\0\210\130\1\0\2\0\20\0data\100\21\0\0'
	for i in $(seq 69); do printf '\0\20\0\20\0\20\0\20\0\20\0\20\0\20\0\20\0\20\0\20\0\20\0\20\0\20\0\20\0\20\0\20\0\360\0\360\0\360\0\360\0\360\0\360\0\360\0\360\0\360\0\360\0\360\0\360\0\360\0\360\0\360\0\360'; done
}

# terminal COMMAND...: starts a command in a terminal of 80 by 24; the program tmux of the case is that
terminal() {
	printf 'set -g default-terminal screen\nset -g status off\nset -g escape-time 0\n' >tmux.conf
	tmux -S tmux.socket -f tmux.conf new-session -d -x 80 -y 24 "$@"
}
keys() { tmux -S tmux.socket send-keys "$@"; }
screen_has() { tmux -S tmux.socket capture-pane -p | grep -q -e "$1"; }
`

// programCases are the programs that TestSystemPrograms installs.
var programCases = []programCase{
	// Interpreters, with modules.
	{name: "python3", release: "trixie", packages: "python3 python3-minimal python3-requests", asked: "requests from its own server, sqlite3, ssl, lzma", script: `
python3 - <<'P'
import http.server, threading, ssl, sqlite3, lzma, requests
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"served " + self.path.encode())
    def log_message(self, *a): pass
s = http.server.HTTPServer(("127.0.0.1", 0), H)
threading.Thread(target=s.serve_forever, daemon=True).start()
print(requests.get("http://127.0.0.1:%d/it" % s.server_port).text)
print(sqlite3.connect(":memory:").execute("select 6*7").fetchone()[0], ssl.create_default_context().check_hostname, lzma.decompress(lzma.compress(b"x")))
P`, want: `served /it
42 True b'x'`},
	{name: "python3 -m venv", release: "trixie", packages: "python3 python3-minimal python3-venv", asked: "a virtual environment, its python and its pip", script: `
python3 -m venv v
v/bin/python -c 'import sys, pip, ssl, ctypes; print(sys.prefix != sys.base_prefix, pip.__name__, sys.version_info[:2])'
v/bin/pip --version | cut -d' ' -f1
. v/bin/activate; python -c 'import os; print(os.environ["VIRTUAL_ENV"] == os.getcwd() + "/v")'`, want: `True pip \(3, 13\)
pip
True`},
	{name: "python3-numpy", release: "trixie", packages: "python3 python3-minimal python3-numpy", asked: "solve equations and transform", script: `
python3 -c 'import numpy; print(numpy.linalg.solve([[2., 1.], [1., 3.]], [3., 4.]).round(3), numpy.fft.fft([1, 0, 0, 0]).real)'`, want: `\[1\. 1\.\] \[1\. 1\. 1\. 1\.\]`},
	{name: "python3-pil", release: "trixie", packages: "python3 python3-minimal python3-pil", asked: "scale a picture and save it in four formats", script: `
picture >a.ppm
python3 -c '
from PIL import Image, ImageDraw
i = Image.open("a.ppm").resize((30, 20)); ImageDraw.Draw(i).text((0, 0), "x")
for f in "png", "jpeg", "webp", "tiff": i.save("a." + f); o = Image.open("a." + f); print(o.format, o.size)'`, want: `PNG \(30, 20\)
JPEG \(30, 20\)
WEBP \(30, 20\)
TIFF \(30, 20\)`},
	{name: "ipython3", release: "trixie", packages: "ipython3", asked: "an expression with a magic", script: `ipython3 --no-banner --colors=NoColor -c 'get_ipython().run_line_magic("precision", "3"); print(6*7)'`, want: `42`},
	{name: "perl", release: "trixie", packages: "perl perl-base libjson-perl libdbd-sqlite3-perl libxml-libxml-perl", asked: "JSON, DBI with SQLite, XML::LibXML, Encode", script: `
perl -MJSON -MDBI -MXML::LibXML -MEncode -MDigest::SHA=sha1_hex -e '
print JSON->new->canonical->encode({b => [1, 2], a => undef}), "\n";
print DBI->connect("dbi:SQLite:dbname=:memory:")->selectrow_array("select 6*7"), "\n";
print XML::LibXML->load_xml(string => "<a><b>c</b></a>")->findvalue("//b"), " ", length(encode("euc-jp", "\x{3042}")), " ", sha1_hex("x"), "\n"'`, want: `\{"a":null,"b":\[1,2\]\}
42
c 2 11f6ad8ec52a2984abaafd7c3b516503785c2072`},
	{name: "ruby", release: "trixie", packages: "ruby ruby-nokogiri", asked: "json, openssl, yaml, and the gem nokogiri", script: `
ruby -rjson -ropenssl -ryaml -rzlib -e 'puts JSON.generate({a: [1, nil]}), OpenSSL::Digest.new("SHA256").hexdigest("x")[0, 8], YAML.load("- 1").inspect, Zlib.crc32("x")'
ruby -rnokogiri -e 'puts Nokogiri::XML("<a><b>c</b></a>").at("b").text'`, want: `\{"a":\[1,null\]\}
2d711642
\[1\]
2363233923
c`},
	{name: "nodejs", release: "trixie", packages: "nodejs node-semver", asked: "require a packaged module, crypto, Intl", script: `
node -e 'const s = require("semver"), c = require("crypto"); console.log(s.satisfies("1.2.3", "^1.0.0"), c.createHash("sha256").update("x").digest("hex").slice(0, 8), new Intl.NumberFormat("de").format(1234.5))'`, want: `true 2d711642 1\.234,5`},
	{name: "npm packages by node", release: "trixie", packages: "node-typescript nodejs", asked: "tsc compiles a program of TypeScript", script: `
echo 'const x: number = 6 * 7; console.log(x);' >a.ts; tsc a.ts; node a.js`, want: `42`},
	{name: "lua5.4", release: "trixie", packages: "lua5.4 lua-lpeg", asked: "match with the module lpeg", script: `
lua5.4 -e 'local l = require "lpeg"; print(l.match(l.C(l.P"abc"), "abcd"), 7 // 2)' | tr '\t' ' '`, want: `abc 3`},
	{name: "luajit", release: "trixie", packages: "luajit", asked: "compile to bytecode by its module jit.bcsave", script: `
echo 'print(require("jit").status() and 6*7, require("ffi").sizeof("int"))' >a.lua; luajit -b a.lua a.raw; luajit a.raw | tr '\t' ' '`, want: `42 4`},
	{name: "php8.4", release: "trixie", packages: "php8.4-cli php8.4-sqlite3 php8.4-mbstring php8.4-xml", asked: "PDO with SQLite, mbstring, DOM, JSON", script: `
php8.4 -r '$d = new PDO("sqlite::memory:"); echo $d->query("select 6*7")->fetchColumn(), mb_strtoupper("ä"), json_encode([1]), "\n"; $x = new DOMDocument; $x->loadXML("<a><b>c</b></a>"); echo $x->textContent, "\n";'`, want: `42Ä\[1\]
c`},
	{name: "php", release: "trixie", packages: "php8.4-cli", asked: "serve a page by its web server, under the name php", script: `
echo '<?php echo "page ", 6*7, "\n";' >index.php; php -q -S 127.0.0.1:8090 >log 2>&1 & p=$!
cat >get.php <<'P'
<?php echo file_get_contents("http://127.0.0.1:8090/index.php");
P
within php get.php; php get.php; kill $p`, want: `page 42`},
	{name: "tcl", release: "trixie", packages: "tcl tcllib", asked: "packages of tcllib, encodings, the clock", script: `
echo 'package require struct::list; package require sha256; puts [struct::list reverse {1 2 3}]; puts [sha2::sha256 -hex x]; puts [string length [encoding convertto euc-jp \u3042]]; puts [clock format 0 -gmt 1 -format %Y]' >a.tcl; tclsh a.tcl`, want: `3 2 1
2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881
2
1970`},
	{name: "R", release: "trixie", packages: "r-base-core", asked: "a model, and a plot to PDF", script: `
Rscript -e 'x <- 1:10; print(round(coef(lm(I(2*x+1) ~ x)), 3)); pdf("a.pdf"); plot(x); invisible(dev.off()); cat(substr(readLines("a.pdf", 1, warn=FALSE), 1, 5), "\n")'`, want: `\(Intercept\) +x\s+1 +2\s+%PDF- `},
	{name: "java", release: "trixie", packages: "openjdk-21-jdk-headless", asked: "javac, jar and java -jar", script: `
mkdir a; cat >a/H.java <<'J'
package a;
import java.util.stream.*;
public class H { public static void main(String[] s) throws Exception {
  System.out.println(IntStream.rangeClosed(1, 6).sum() + " " + java.nio.charset.Charset.forName("EUC-JP") + " " + javax.net.ssl.SSLContext.getDefault().getProtocol()); } }
J
javac a/H.java; jar cfe h.jar a.H a/H.class; java -jar h.jar`, want: `21 EUC-JP Default`},
	{name: "jshell", release: "trixie", packages: "openjdk-21-jdk-headless", asked: "an expression", script: `echo 'System.out.println(6*7)' | jshell -s - 2>&1 | tail -n 1`, want: `42`},
	{name: "guile-3.0", release: "trixie", packages: "guile-3.0", asked: "modules ice-9 and srfi", script: `
guile --no-auto-compile -c '(use-modules (ice-9 regex) (srfi srfi-1)) (display (fold + 0 (list 1 2 39))) (display (match:substring (string-match "b+" "abbc"))) (newline)'`, want: `42bb`},
	{name: "sbcl", release: "trixie", packages: "sbcl", asked: "a program, and a contributed module", script: `
echo '(require :sb-md5) (format t "~a ~(~{~2,'"'"'0x~}~)~%" (* 6 7) (coerce (sb-md5:md5sum-string "x") (quote list)))' >a.lisp; sbcl --script a.lisp`, want: `42 9dd4e461268c8034f5c8564e155c67a6`},
	{name: "erlang", release: "trixie", packages: "erlang-base", asked: "evaluate, and compile a module", script: `
printf -- '-module(a).\n-export([f/0]).\nf() -> lists:sum([1,2,39]).\n' >a.erl; erlc a.erl; erl -noshell -eval 'io:format("~p~n", [a:f()]), halt().'`, want: `42`},
	{name: "elixir", release: "trixie", packages: "elixir", asked: "a pipeline", script: `elixir -e 'IO.puts(Enum.sum(1..6) |> Integer.to_string(2))'`, want: `10101`},
	{name: "swi-prolog", release: "trixie", packages: "swi-prolog-nox", asked: "a query with library(lists) and clpfd", script: `
printf ':- use_module(library(clpfd)).\n:- use_module(library(lists)).\nmain :- X #> 41, X #< 43, label([X]), sum_list([X,1],Y), writeln(Y).\n' >a.pl; swipl -q -g main -t halt a.pl`, want: `43`},
	{name: "maxima", release: "trixie", packages: "maxima", asked: "integrate", script: `maxima --very-quiet --batch-string='display2d:false$ print(integrate(x^2,x))$' | tail -n 1`, want: `x\^3/3 ?`},
	{name: "pari-gp", release: "trixie", packages: "pari-gp", asked: "factor", script: `echo 'print(factor(2^32+1))' | gp -q`, want: `\[641, 1; 6700417, 1\]`},
	{name: "gawk", release: "trixie", packages: "gawk", asked: "extensions and large numbers", script: `gawk -M -l filefuncs 'BEGIN { print 2^100; stat("/", s); print s["type"] }'`, want: `1267650600228229401496703205376
directory`},

	// Editors.
	{name: "vim", release: "trixie", packages: "vim-nox", asked: "syntax, help and Python", script: `
printf 'int main(void) { return 0; }\n' >a.c
vim.nox -u NONE -N -es -c 'filetype plugin on' -c 'syntax on' -c 'edit a.c' -c 'redir! > out' -c 'silent echo b:current_syntax synIDattr(synID(1,1,1),"name")' -c 'help usr_01' -c 'silent echo expand("%:t")' -c 'silent py3 print(6*7)' -c 'redir END' -c 'qa!' || true
grep -v '^"' out | tr -s '\n'`, want: `\s*c cType
usr_01.txt
42`},
	{name: "emacs", release: "trixie", packages: "emacs-nox", asked: "export a file of org-mode, and its own libraries", script: `
printf '#+TITLE: t\n* Heading\n- item /x/\n' >a.org
emacs -Q --batch a.org --eval '(require (quote ox-html))' --eval '(org-html-export-to-html)' --eval '(progn (require (quote json)) (princ (json-encode (list 1 2))) (princ "\n"))' 2>log
grep -o '<i>x</i>' a.html`, want: `\[1,2\]
<i>x</i>`},
	{name: "nano", release: "trixie", packages: "nano tmux", asked: "edit a file in a terminal, with colors", script: `
printf 'include "/usr/share/nano/c.nanorc"\n' >.nanorc; printf 'int x;\n' >a.c; terminal nano a.c; within screen_has 'int x'
is_colored() { tmux -S tmux.socket capture-pane -p -e | grep -q "$(printf '\033')\[[0-9;]*3[0-9]mint"; }; within is_colored && echo colored
keys -l 'hello '; within screen_has 'hello int'; keys C-o; within screen_has 'Write to File'; keys Enter; within screen_has 'Wrote'; keys C-x; cat a.c`, want: `colored
hello int x;`},
	{name: "neovim", release: "trixie", packages: "neovim", asked: "file types, help, Lua and tree-sitter", script: `
printf 'int main(void) { return 0; }\n' >a.c
nvim --headless -u NONE -c 'filetype plugin on' -c 'edit a.c' -c 'lua io.stdout:write(vim.bo.filetype, " ", vim.json.encode({1}), " ", vim.treesitter.get_parser(0, "c"):parse()[1]:root():type(), "\n")' -c 'help lua-guide' -c 'lua io.stdout:write(vim.fn.expand("%:t"), "\n")' -c 'qa!' 2>log`, want: `c \[1\] translation_unit
lua-guide.txt`},
	{name: "ed", release: "trixie", packages: "ed", asked: "edit a file", script: `printf 'a\nhello\n.\ns/l/L/g\nw a\nq\n' | ed -s; cat a`, want: `heLLo`},
	{name: "micro", release: "trixie", packages: "micro tmux", asked: "edit a file in a terminal", script: `
printf 'int x;\n' >a.c; terminal micro a.c; within screen_has 'int x'; keys -l 'hello '; within screen_has 'hello int'; keys C-s; within grep -q hello a.c; keys C-q; cat a.c`, want: `hello int x;`},

	// Compilers, and what one builds with.
	{name: "gcc", release: "trixie", packages: "gcc libc6-dev", asked: "compile, link and run", script: `
printf '#include <stdio.h>\n#include <math.h>\nint main(int c, char **v) { printf("%%d %%.3f\\n", 6*7, sqrt(c+1)); }\n' >a.c; gcc -O2 -Wall -o a a.c -lm; ./a`, want: `42 1\.414`},
	{name: "g++", release: "trixie", packages: "g++ libc6-dev", asked: "compile, link and run C++20", script: `
printf '#include <algorithm>\n#include <format>\n#include <iostream>\n#include <ranges>\n#include <vector>\nint main() { std::vector v{3,1,2}; std::ranges::sort(v); std::cout << std::format("{} {}", v[0], 6*7) << std::endl; }\n' >a.cc; g++ -std=c++20 -o a a.cc; ./a`, want: `1 42`},
	{name: "g++ with libraries", release: "trixie", packages: "g++ zlib1g-dev libc6-dev", asked: "a library of its own, one of a package, a static program", script: `
printf '#include <string>\nstd::string f(int x) { return std::to_string(x); }\n' >f.cc
printf '#include <zlib.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string>\nstd::string f(int);\nint main() { printf("%%s %%lu %%ld\\n", f(42).c_str(), crc32(0, (const Bytef *)"x", 1), strtol("0b11", 0, 0)); }\n' >a.cc
g++ -shared -fPIC -o libf.so f.cc; g++ -o a a.cc -L. -lf -lz -Wl,-rpath,$PWD; ./a; echo 'int main() { return 0; }' >s.cc; g++ -static -o s s.cc; ./s; echo static`, want: `42 2363233923 3
static`},
	{name: "clang", release: "trixie", packages: "clang libc6-dev", asked: "compile, link and run; a warning", script: `
printf '#include <stdio.h>\n#include <stddef.h>\nint main(void) { int x; printf("%%d\\n", 6*7); return 0; }\n' >a.c; clang -Wall -o a a.c 2>&1 | grep -o 'unused variable'; ./a`, want: `unused variable
42`},
	{name: "rustc", release: "trixie", packages: "rustc cargo libc6-dev gcc", asked: "cargo builds and runs a crate", script: `
cargo init -q --vcs none --name a . ; printf 'use std::collections::BTreeMap;\nfn main() { let m: BTreeMap<_, _> = [(2, "b"), (1, "a")].into(); println!("{:?}", m); }\n' >src/main.rs; cargo run -q --offline`, want: `\{1: "a", 2: "b"\}`},
	{name: "go", release: "trixie", alone: true, packages: "golang-go", asked: "build and run a module", script: `
export GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local; printf 'module a\n' >go.mod; printf 'package main\nimport ("fmt"; "strings")\nfunc main() { fmt.Println(strings.Repeat("ab", 2)) }\n' >a.go; go vet . && go run .`, want: `abab`},
	{name: "gfortran", release: "trixie", packages: "gfortran libc6-dev", asked: "compile, link and run", script: `
printf 'program a\nuse iso_c_binding\nprint "(I0)", sum((/ (i, i=1,6) /))\nend program\n' >a.f90; gfortran -o a a.f90; ./a`, want: `21`},
	{name: "gcc by its number", release: "trixie", packages: "gcc-14 libc6-dev", asked: "a shared library, and a program that loads it", script: `
echo 'int f(void) { return 42; }' >f.c; printf '#include <stdio.h>\n#include <dlfcn.h>\nint main(void) { void *h = dlopen("./f.so", RTLD_NOW); int (*f)(void) = dlsym(h, "f"); printf("%%d\\n", f()); }\n' >a.c
gcc-14 -shared -fPIC -o f.so f.c; gcc-14 -o a a.c; ./a`, want: `42`},
	{name: "ocaml", release: "trixie", packages: "ocaml-nox libc6-dev", asked: "compile to machine code, and the toplevel", script: `
echo 'let () = print_endline (String.concat "," (List.map string_of_int [1;2]))' >a.ml; ocamlfind ocamlopt -version >/dev/null 2>&1 || true; ocamlopt -o a a.ml; ./a; echo 'print_int (6*7);;' | ocaml -noprompt -no-version | head -c 2`, want: `1,2
42`},
	{name: "fpc", release: "trixie", packages: "fp-compiler fp-units-rtl", asked: "compile and run Pascal", script: `
printf 'program a;\nuses sysutils;\nbegin writeln(6*7, Length(IntToStr(100))); end.\n' >a.pas; fpc a.pas >log 2>&1; ./a`, want: `423`},
	{name: "nasm", release: "trixie", packages: "nasm binutils", asked: "assemble, link and run", script: `
printf 'global _start\n_start: mov eax,1\nmov edi,1\nmov rsi,m\nmov edx,3\nsyscall\nmov eax,60\nxor edi,edi\nsyscall\nsection .data\nm: db "42",10\n' >a.asm; nasm -f elf64 a.asm; ld -o a a.o; ./a; objdump -f a.o | grep -o elf64-x86-64`, want: `42
elf64-x86-64`},
	{name: "tcc", release: "trixie", packages: "tcc libc6-dev", asked: "run a program of C", script: `printf '#include <stdio.h>\n#include <stdarg.h>\nint main(void) { printf("%%d\\n", 6*7); return 0; }\n' >a.c; tcc -run a.c`, want: `42`},
	{name: "cmake", release: "trixie", packages: "cmake ninja-build gcc libc6-dev", asked: "configure and build by ninja, run the test", script: `
printf 'cmake_minimum_required(VERSION 3.10)\nproject(a C)\nfind_package(Threads REQUIRED)\nadd_executable(a a.c)\nenable_testing()\nadd_test(NAME t COMMAND a)\n' >CMakeLists.txt; printf '#include <stdio.h>\nint main(void) { puts("built"); }\n' >a.c
cmake -G Ninja -B b . >log 2>&1; cmake --build b >>log 2>&1; b/a; ctest --test-dir b | grep -o '100% tests passed'`, want: `built
100% tests passed`},
	{name: "meson", release: "trixie", packages: "meson gcc libc6-dev", asked: "configure, build and test", script: `
printf "project('a', 'c')\ne = executable('a', 'a.c')\ntest('t', e)\n" >meson.build; printf '#include <stdio.h>\nint main(void) { puts("built"); }\n' >a.c; meson setup b >log 2>&1; meson test -C b >>log 2>&1; b/a; grep -c 't *OK' log`, want: `built
1`},
	{name: "autoconf", release: "trixie", packages: "autoconf automake gcc libc6-dev make", asked: "autoreconf, configure and make", script: `
printf 'AC_INIT([a],[1])\nAM_INIT_AUTOMAKE([foreign])\nAC_PROG_CC\nAC_CHECK_HEADERS([stdlib.h])\nAC_CONFIG_FILES([Makefile])\nAC_OUTPUT\n' >configure.ac; printf 'bin_PROGRAMS = a\na_SOURCES = a.c\n' >Makefile.am; printf '#include <stdio.h>\nint main(void) { puts("built"); }\n' >a.c
autoreconf -fi >log 2>&1; ./configure >>log 2>&1; make >>log 2>&1; ./a`, want: `built`},
	{name: "libtool", release: "trixie", packages: "libtool gcc libc6-dev", asked: "libtoolize writes its script and macros", script: `printf 'AC_INIT([a],[1])\nAC_CONFIG_MACRO_DIRS([m4])\nLT_INIT\nAC_OUTPUT\n' >configure.ac; libtoolize --copy --install >log 2>&1; ls m4 | head -n 1; ls ltmain.sh`, want: `libtool.m4
ltmain.sh`},
	{name: "swig", release: "trixie", packages: "swig", asked: "a binding for Python", script: `printf '%%module a\n%%include <std_string.i>\nint f(int x);\n' >a.i; swig -c++ -python a.i && grep -c 'def f(x)' a.py`, want: `1`},
	{name: "doxygen", release: "trixie", packages: "doxygen", asked: "pages for a header", script: `printf '/** @file */\n/** It answers. */\nint f(int x);\n' >a.h; doxygen -g >/dev/null; sed -i 's/^QUIET .*/QUIET = YES/; s/^GENERATE_LATEX .*/GENERATE_LATEX = NO/; s/^HAVE_DOT .*/HAVE_DOT = NO/' Doxyfile; doxygen >log 2>&1; grep -o 'It answers' html/a_8h.html | head -n 1; ls html/doxygen.css`, want: `It answers
html/doxygen.css`},
	{name: "protoc", release: "trixie", packages: "protobuf-compiler libprotobuf-dev", asked: "a message that imports one of its own", script: `printf 'syntax = "proto3";\nimport "google/protobuf/timestamp.proto";\nmessage M { google.protobuf.Timestamp t = 1; }\n' >a.proto; protoc --cpp_out=. --python_out=. a.proto; ls a.pb.cc a_pb2.py`, want: `a.pb.cc
a_pb2.py`},
	{name: "bison, flex", release: "trixie", packages: "bison flex", asked: "a parser and a scanner", script: `printf '%%%%\ns: ;\n%%%%\n' >a.y; bison -o a.c a.y; grep -c 'int$' a.c | head -n 1 >/dev/null; grep -o -m 1 'yyparse' a.c; printf '%%%%\n. ;\n%%%%\n' >a.l; flex -o b.c a.l; grep -o -m 1 'yylex' b.c`, want: `yyparse
yylex`},
	{name: "gettext", release: "trixie", packages: "gettext", asked: "extract and compile messages", script: `printf 'puts(gettext("hello"));\n' >a.c; xgettext --from-code=UTF-8 -k -kgettext -o a.po a.c; sed -i 's/CHARSET/UTF-8/; /hello/{n;s/""/"hallo"/}' a.po; msgfmt -o a.mo a.po; msgunfmt a.mo | grep hallo; grep -c 'msgid "hello"' a.po`, want: `msgstr "hallo"
1`},
	{name: "gdb", release: "trixie", packages: "gdb gcc libc6-dev", asked: "break in a program, and its Python", script: `
printf 'int f(int x) { return x; }\nint main(void) { return f(7)-7; }\n' >a.c; gcc -g -O0 -o a a.c; gdb -q -batch -ex 'break f' -ex run -ex 'print x' -ex 'python print(6*7)' -ex bt ./a 2>log | grep -o -e '^\$1 = 7' -e '^42' -e '#1 .* main'`, want: `\$1 = 7
42
#1 .* main`},
	{name: "strace", release: "trixie", packages: "strace", asked: "follow cat", script: `echo x >f; strace -f -e trace=openat,read -o out cat f; grep -c -e '"f"' -e '"x.n"' out`, want: `x
2`},
	{name: "valgrind", release: "trixie", alone: true, packages: "valgrind gcc libc6-dev", asked: "find a leak", script: `printf '#include <stdlib.h>\nint main(void) { malloc(42); return 0; }\n' >a.c; gcc -g -o a a.c; valgrind --leak-check=full ./a 2>&1 | grep -o -e 'definitely lost: 42 bytes'`, want: `definitely lost: 42 bytes`},
	{name: "git", release: "trixie", packages: "git", asked: "commit, clone, rebase, a submodule, daemon", script: `
export GIT_CONFIG_NOSYSTEM=1; git config --global user.email a@b; git config --global user.name a; git config --global protocol.file.allow always; git config --global init.defaultBranch main
git init -q s; cd s; echo x >f; git add f; git commit -qm one; echo y >>f; git commit -qam two; cd ..; git clone -q "file://$PWD/s" c; cd c; ls .git/hooks | wc -l | grep -q '^[1-9]' && echo hooks
git submodule --quiet add "file://$HOME/s" sub; git commit -qm three; GIT_SEQUENCE_EDITOR='sed -i -e "2s/^pick/fixup/"' git rebase -q -i --root; git log --format=%s | tr '\n' ' '; ls sub; cd ..
git daemon --export-all --base-path=$PWD --listen=127.0.0.1 --port=9419 >log 2>&1 & p=$!; within git ls-remote git://127.0.0.1:9419/s; git clone -q git://127.0.0.1:9419/s d; ls d; kill $p`, want: `hooks
three one f
f`},
	{name: "mercurial", release: "trixie", packages: "mercurial", asked: "commit, clone, log", script: `hg init s; cd s; echo x >f; hg add f; hg commit -u a -m one; cd ..; hg clone -q s c; hg -R c log --template '{desc} {author}\n'`, want: `one a`},
	{name: "subversion", release: "trixie", packages: "subversion", asked: "create, commit and check out", script: `svnadmin create r; svn mkdir -q -m one "file://$PWD/r/d"; svn co -q "file://$PWD/r" c; ls c; svn log -q c | grep -c '^r1'`, want: `d
1`},
	{name: "fakeroot", release: "trixie", packages: "fakeroot", asked: "owners that are none", script: `touch f; fakeroot sh -c 'chown 12:34 f; stat -c %u:%g f'`, want: `12:34`},
	{name: "shellcheck", release: "trixie", packages: "shellcheck", asked: "find a mistake", script: `printf '#!/bin/sh\necho $1\n' >a.sh; shellcheck -f gcc a.sh | grep -o SC2086 || true`, want: `SC2086`},
	{name: "black", release: "trixie", packages: "black", asked: "format a program", script: `printf "x = {  'a':1 }\n" >a.py; black -q a.py; cat a.py`, want: `x = \{"a": 1\}`},
	{name: "pylint", release: "trixie", packages: "pylint", asked: "find a mistake", script: `printf 'import os\n' >a.py; pylint -sn --disable=all --enable=W a.py | grep -o unused-import || true`, want: `unused-import`},

	// Databases and servers.
	{name: "sqlite3", release: "trixie", packages: "sqlite3", asked: "full-text search and JSON", script: `echo "create virtual table t using fts5(a); insert into t values('hello world'); select a from t where t match 'world'; select json_extract('{\"a\":42}','\$.a');" | sqlite3 a.db`, want: `hello world
42`},
	{name: "postgresql-17", release: "trixie", packages: "postgresql-17", only: "user", asked: "a cluster of its own, with extensions and a procedure", script: `
pg_virtualenv -v 17 -t -s sh -c "psql -X -At postgres -c 'create extension pg_trgm' -c 'create extension hstore' -c \"select similarity('word','word'), hstore('a','b')->'a', 6*7\"" 2>log | grep -v -i -e '^creat' -e '^drop' -e '^stop'`, want: `1\|b\|42`},
	{name: "mariadb", release: "trixie", packages: "mariadb-server mariadb-client", asked: "make a database, start, answer by the socket", script: `
mariadb-install-db --no-defaults --datadir=$PWD/db --user=$(id -un) --auth-root-authentication-method=normal >log 2>&1
mariadbd --no-defaults --datadir=$PWD/db --user=$(id -un) --socket=$PWD/s --skip-networking --pid-file=$PWD/pid >>log 2>&1 & p=$!
within mariadb-admin --no-defaults -u root -S $PWD/s ping; mariadb --no-defaults -u root -S $PWD/s -N -e "select 6*7, sha1('x'), uncompress(compress('y')); install soname 'locales'; select count(*) > 100 from information_schema.locales" | tr '\t' ' '
mariadb-admin --no-defaults -u root -S $PWD/s shutdown; wait $p || true`, want: `42 11f6ad8ec52a2984abaafd7c3b516503785c2072 y
1`},
	{name: "valkey", release: "trixie", packages: "valkey-server valkey-tools", asked: "start, set, get, a script of Lua", script: `
valkey-server --port 0 --unixsocket $PWD/s --save '' --logfile $PWD/log --dir $PWD & p=$!
within valkey-cli -s s ping; valkey-cli -s s set a 42 >/dev/null; valkey-cli -s s get a; valkey-cli -s s eval 'return cjson.encode({1,2})' 0; valkey-cli -s s shutdown nosave || true; wait $p || true`, want: `42
\[1,2\]`},
	{name: "slapd", release: "trixie", packages: "slapd ldap-utils", asked: "schema and modules, answer a search", script: `
mkdir db; printf 'include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload memberof\npidfile %s/pid\ndatabase mdb\nsuffix dc=x\nrootdn cn=a,dc=x\nrootpw s\ndirectory %s/db\n' $PWD $PWD >s.conf
printf 'dn: dc=x\nobjectClass: dcObject\nobjectClass: organization\no: x\ndc: x\n' >a.ldif; slapadd -f s.conf -l a.ldif >log 2>&1
slapd -f s.conf -h ldap://127.0.0.1:3890 -d 0 >>log 2>&1 & p=$!
within ldapsearch -x -H ldap://127.0.0.1:3890 -b dc=x; ldapsearch -x -LLL -H ldap://127.0.0.1:3890 -b dc=x o | head -n 2; ldapwhoami -x -H ldap://127.0.0.1:3890 -D cn=a,dc=x -w s; kill $p; wait $p || true`, want: `dn: dc=x
o: x
dn:cn=a,dc=x`},
	{name: "memcached", release: "trixie", packages: "memcached libmemcached-tools", asked: "start, set, get", script: `memcached -u $(id -un) -l 127.0.0.1 -p 11911 & p=$!; within memcping --servers=127.0.0.1:11911; echo -n 42 >k; memccp --servers=127.0.0.1:11911 k; memccat --servers=127.0.0.1:11911 k; kill $p; wait $p || true`, want: `42`},
	{name: "nginx", release: "trixie", packages: "nginx libnginx-mod-http-echo curl", asked: "serve a file and by a module", script: `
mkdir -p tmp; echo 'hello from nginx' >index.html; chmod 755 .
cat >a.conf <<N
load_module /usr/lib/nginx/modules/ngx_http_echo_module.so;
user $(id -un); pid $PWD/pid; daemon off; error_log $PWD/log;
events {}
http { include /etc/nginx/mime.types; access_log off; client_body_temp_path tmp/a; proxy_temp_path tmp/b; fastcgi_temp_path tmp/c; uwsgi_temp_path tmp/d; scgi_temp_path tmp/e;
server { listen 127.0.0.1:8081; root $PWD; location /echo { echo "hello from echo"; } } }
N
nginx -p $PWD/ -e $PWD/log -c $PWD/a.conf & p=$!
within curl -sf http://127.0.0.1:8081/echo; curl -s http://127.0.0.1:8081/echo http://127.0.0.1:8081/; curl -sI http://127.0.0.1:8081/ | grep -o 'text/html'; kill $p; wait $p || true`, want: `hello from echo
hello from nginx
text/html`},
	{name: "apache2", release: "trixie", packages: "apache2-bin curl", asked: "serve, compressed and rewritten", script: `
mkdir www; echo 'hello from apache' >www/a.html; chmod 755 . www; m=/usr/lib/apache2/modules
cat >a.conf <<A
ServerRoot $PWD
PidFile $PWD/pid
Mutex fcntl:$PWD
Listen 127.0.0.1:8082
ServerName localhost
ErrorLog $PWD/error.log
LoadModule mpm_event_module $m/mod_mpm_event.so
LoadModule authz_core_module $m/mod_authz_core.so
LoadModule deflate_module $m/mod_deflate.so
LoadModule filter_module $m/mod_filter.so
LoadModule rewrite_module $m/mod_rewrite.so
LoadModule ssl_module $m/mod_ssl.so
LoadModule socache_shmcb_module $m/mod_socache_shmcb.so
AddOutputFilterByType DEFLATE text/html
DefaultRuntimeDir $PWD
DocumentRoot $PWD/www
RewriteEngine on
RewriteRule ^/b$ /a.html
<Directory $PWD/www>
Require all granted
</Directory>
A
apache2 -f $PWD/a.conf -DFOREGROUND >said 2>&1 & p=$!
within curl -sf http://127.0.0.1:8082/a.html; curl -s --compressed http://127.0.0.1:8082/b; apache2 -f $PWD/a.conf -M 2>/dev/null | grep -c shared; kill $p; wait $p || true`, want: `hello from apache
7`},
	{name: "lighttpd", release: "trixie", packages: "lighttpd curl", asked: "serve a file", script: `
echo 'hello from lighty' >a.txt; chmod 755 .; printf 'server.document-root = "%s"\nserver.port = 8083\nserver.bind = "127.0.0.1"\nserver.modules = ( "mod_accesslog", "mod_redirect" )\naccesslog.filename = "%s/log"\nmimetype.assign = ( ".txt" => "text/plain" )\n' $PWD $PWD >l.conf
lighttpd -D -f l.conf >said 2>&1 & p=$!; within curl -sf http://127.0.0.1:8083/a.txt; curl -s http://127.0.0.1:8083/a.txt; kill $p; wait $p || true`, want: `hello from lighty`},
	{name: "caddy", release: "trixie", packages: "caddy curl", asked: "serve by TLS with its own authority", script: `
printf '{\nadmin off\nhttp_port 8084\nhttps_port 8444\nskip_install_trust\n}\nlocalhost {\ntls internal\nrespond "hello from caddy"\n}\n' >Caddyfile; caddy run --config Caddyfile --adapter caddyfile >log 2>&1 & p=$!
within curl -sfk https://localhost:8444/; curl -sk https://localhost:8444/; echo; kill $p; wait $p || true`, want: `hello from caddy`},
	{name: "haproxy", release: "trixie", packages: "haproxy curl", asked: "answer by a rule and Lua", script: `
printf 'core.register_service("l", "http", function(a) a:set_status(200); a:start_response(); a:send("hello from lua\\n") end)\n' >l.lua
printf 'global\n lua-load %s/l.lua\ndefaults\n mode http\n timeout client 5s\n timeout connect 5s\n timeout server 5s\nfrontend f\n bind 127.0.0.1:8085\n http-request use-service lua.l if { path /lua }\n http-request return status 200 content-type text/plain string "hello from haproxy\\n"\n' $PWD >h.conf
haproxy -f h.conf >log 2>&1 & p=$!; within curl -sf http://127.0.0.1:8085/lua; curl -s http://127.0.0.1:8085/ http://127.0.0.1:8085/lua; kill $p; wait $p || true`, want: `hello from haproxy
hello from lua`},
	{name: "dnsmasq", release: "trixie", packages: "dnsmasq-base bind9-dnsutils", asked: "answer dig", script: `
: >empty; dnsmasq -k -C empty -u $(id -un) -x $PWD/pid -p 5354 --listen-address=127.0.0.1 --bind-interfaces --no-resolv --no-hosts --address=/a.x/127.0.0.9 >log 2>&1 & p=$!
within dig +short +time=1 -p 5354 @127.0.0.1 a.x; dig +short -p 5354 @127.0.0.1 a.x; kill $p; wait $p || true`, want: `127.0.0.9`},
	{name: "bind9", release: "trixie", packages: "bind9 bind9-dnsutils", asked: "serve a zone", script: `
printf 'options { directory "%s"; listen-on port 5353 { 127.0.0.1; }; listen-on-v6 { none; }; pid-file "pid"; session-keyfile "key"; recursion no; dnssec-validation no; };\nzone "x" { type primary; file "z"; };\n' $PWD >n.conf
printf '$TTL 60\n@ IN SOA a.x. b.x. 1 60 60 60 60\n IN NS a.x.\na IN A 127.0.0.9\n' >z; named-checkzone x z | tail -n 1; named -f -c $PWD/n.conf -n 1 >said 2>&1 & p=$!; within dig +short +time=1 -p 5353 @127.0.0.1 a.x; dig +short -p 5353 @127.0.0.1 a.x; kill $p; wait $p || true`, want: `OK
127.0.0.9`},
	{name: "mosquitto", release: "trixie", packages: "mosquitto mosquitto-clients", asked: "pass on a message", script: `
printf 'listener 18830 127.0.0.1\nallow_anonymous true\nuser %s\n' $(id -un) >m.conf; mosquitto -c m.conf >log 2>&1 & p=$!; within mosquitto_pub -p 18830 -t a -r -m 42; mosquitto_sub -p 18830 -t a -C 1; kill $p; wait $p || true`, want: `42`},
	{name: "openssh", release: "trixie", packages: "openssh-server openssh-client", only: "user", asked: "a server, a login, sftp", script: `
mkdir -m 700 .ssh; ssh-keygen -q -t ed25519 -N '' -f h; ssh-keygen -q -t rsa -N '' -f k; cp k.pub ak
cat >s.conf <<C
ListenAddress 127.0.0.1
Port 2222
HostKey $PWD/h
AuthorizedKeysFile $PWD/ak
StrictModes no
PidFile $PWD/pid
UsePAM no
Subsystem sftp internal-sftp
C
$(command -v sshd) -D -e -f $PWD/s.conf >log 2>&1 & p=$!; o="-F none -i k -o StrictHostKeyChecking=no -o UserKnownHostsFile=$PWD/kn -o LogLevel=ERROR"
within ssh -p 2222 $o $(id -un)@127.0.0.1 true; ssh -p 2222 $o $(id -un)@127.0.0.1 'echo hello over ssh'; echo x >x; echo "get $PWD/x $PWD/y" | sftp -P 2222 $o -b - $(id -un)@127.0.0.1 >>log 2>&1; cat y; kill $p`, want: `hello over ssh
x`},
	{name: "rsync", release: "trixie", packages: "rsync", asked: "a daemon, and a copy from it", script: `
mkdir a; echo x >a/f; ln a/f a/g; printf 'use chroot = no\n[m]\npath = %s/a\n' $PWD >r.conf; rsync --daemon --no-detach --address=127.0.0.1 --port=8730 --config=r.conf >log 2>&1 & p=$!
within rsync -aH rsync://127.0.0.1:8730/m/ b; cat b/f; stat -c %h b/g; kill $p`, want: `x
2`},
	{name: "iperf3", release: "trixie", packages: "iperf3", asked: "measure the loopback", script: `iperf3 -s -1 -B 127.0.0.1 -p 5202 >log 2>&1 & within iperf3 -c 127.0.0.1 -p 5202 -n 1K -J; wait; grep -c receiver log`, want: `1`},

	// Documents.
	{name: "pandoc", release: "trixie", packages: "pandoc", asked: "to HTML, and to docx and back", script: `
printf '%% T\n\n# H\n\n*x* and ` + "`y`" + `\n' >a.md; pandoc -s -t html a.md 2>/dev/null | grep -o '<em>x</em>'; pandoc -o a.docx a.md; pandoc -t plain a.docx | tail -n 1`, want: `<em>x</em>
x and y`},
	{name: "pdflatex", release: "trixie", packages: "texlive-latex-base poppler-utils", asked: "a document with mathematics", script: `
printf '\\documentclass{article}\\usepackage{amsmath}\\begin{document}Hello \\TeX: $a^2$\\end{document}\n' >a.tex; pdflatex -interaction=batchmode a.tex >log 2>&1; pdftotext a.pdf - | head -n 1`, want: `Hello TEX: a2`},
	{name: "groff", release: "trixie", packages: "groff groff-base", asked: "a page as text and as PDF", script: `printf '.TH A 1\n.SH NAME\na \\- it answers\n' >a.1; groff -man -Tutf8 a.1 | grep -o 'it answers'; groff -man -Tpdf a.1 | head -c 5`, want: `it answers
%PDF-`},
	{name: "man-db", release: "trixie", packages: "man-db", asked: "show its own page, find by name", script: `MANPAGER=cat MANWIDTH=80 man man | grep -o -m 1 'an interface to the system reference manuals'; man -w man | sed 's/.*share/share/'`, want: `an interface to the system reference manuals
share/man/man1/man.1.gz`},
	{name: "libreoffice", release: "trixie", packages: "libreoffice-writer-nogui poppler-utils", asked: "convert text to PDF and docx", script: `
echo 'Hello from the writer' >a.txt; soffice --headless --convert-to pdf a.txt >log 2>&1; pdftotext a.pdf - | head -n 1; soffice --headless --convert-to docx a.txt >>log 2>&1; ls a.docx`, want: `Hello from the writer
a.docx`},
	{name: "asciidoctor", release: "trixie", packages: "asciidoctor", asked: "to HTML", script: `printf '= T\n\n== H\n\n_x_\n' >a.adoc; asciidoctor a.adoc; grep -o '<em>x</em>' a.html`, want: `<em>x</em>`},
	{name: "ghostscript", release: "trixie", packages: "ghostscript", asked: "PostScript with a font to PDF, PNG and text", script: `
printf '%%!PS\n/Helvetica findfont 24 scalefont setfont 72 72 moveto (Hello) show showpage\n' >a.ps; gs -q -dBATCH -dNOPAUSE -sDEVICE=txtwrite -o - a.ps | tr -cd A-Za-z; echo; ps2pdf a.ps a.pdf; head -c 5 a.pdf; echo; gs -q -dBATCH -dNOPAUSE -sDEVICE=png16m -r20 -o a.png a.ps; head -c 4 a.png | tail -c 3`, want: `Hello
%PDF-
PNG`},
	{name: "poppler", release: "trixie", packages: "poppler-utils", asked: "text and a picture of a page", script: `pdf 'Hello PDF' >a.pdf; pdftotext a.pdf - 2>/dev/null | head -n 1; pdftoppm -r 20 -png a.pdf a 2>/dev/null; head -c 4 a-1.png | tail -c 3`, want: `Hello PDF
PNG`},
	{name: "qpdf", release: "trixie", packages: "qpdf", asked: "repair, linearize, check", script: `pdf 'Hello PDF' >a.pdf; qpdf --warning-exit-0 --linearize a.pdf b.pdf 2>/dev/null; qpdf --check b.pdf | tail -n 1 | cut -c 1-27; qpdf --show-npages b.pdf`, want: `errors that qpdf cannot det
1`},
	{name: "mupdf", release: "trixie", packages: "mupdf-tools", asked: "text and a picture of a page", script: `pdf 'Hello PDF' >a.pdf; mutool draw -q -F txt -o - a.pdf 2>/dev/null | head -n 1; mutool draw -q -r 20 -o a.png a.pdf 2>/dev/null; head -c 4 a.png | tail -c 3`, want: `Hello PDF
PNG`},
	{name: "makeinfo", release: "trixie", packages: "texinfo", asked: "HTML and text", script: `printf '@settitle T\n@node Top\n@top T\n@emph{x}\n@bye\n' >a.texi; makeinfo --html --no-split -o a.html a.texi; grep -o '<em class="emph">x</em>' a.html; makeinfo --plaintext a.texi | grep -c _x_`, want: `<em class="emph">x</em>
1`},
	{name: "xsltproc", release: "trixie", packages: "xsltproc docbook-xsl", asked: "DocBook to HTML by the catalog", script: `printf '<article><title>T</title><para>Hello</para></article>' >a.xml; xsltproc --nonet http://docbook.sourceforge.net/release/xsl/current/xhtml/docbook.xsl a.xml 2>log | grep -o '<p>Hello</p>'`, want: `<p>Hello</p>`},
	{name: "xmllint", release: "trixie", packages: "libxml2-utils docbook-xml", asked: "validate by the catalog", script: `printf '<!DOCTYPE article PUBLIC "-//OASIS//DTD DocBook XML V4.5//EN" "http://www.oasis-open.org/docbook/xml/4.5/docbookx.dtd"><article><title>T</title><para>x</para></article>' >a.xml; xmllint --nonet --noout --valid a.xml 2>log && echo valid`, want: `valid`},
	{name: "cmark", release: "trixie", packages: "cmark", asked: "Markdown to HTML", script: `echo '*x*' | cmark`, want: `<p><em>x</em></p>`},
	{name: "hunspell", release: "trixie", packages: "hunspell hunspell-en-us", asked: "find a misspelled word", script: `echo 'helo world' | hunspell -d en_US -l`, want: `helo`},
	{name: "aspell", release: "trixie", packages: "aspell aspell-en", asked: "find a misspelled word", script: `echo 'helo world' | aspell -l en_US list`, want: `helo`},
	{name: "sphinx", release: "trixie", packages: "python3-sphinx", asked: "build a page of text and of HTML", script: `printf 'T\n=\n\n*x*\n' >index.rst; echo 'project = "a"' >conf.py; sphinx-build -q -b text . t; sphinx-build -q -b html . h; cat t/index.txt | tail -n 1; grep -o '<em>x</em>' h/index.html`, want: `\*x\*
<em>x</em>`},
	{name: "w3m", release: "trixie", packages: "w3m", asked: "show a page as text", script: `echo '<table border><tr><td>a<td>&auml;</table>' >a.html; w3m -dump -O UTF-8 a.html | sed -n 2p`, want: `│a│ä│`},
	{name: "lynx", release: "trixie", packages: "lynx", asked: "show a page as text", script: `echo '<h1>T</h1><a href="x">y</a>' >a.html; lynx -dump -listonly -nonumbers a.html | sed 's/.*\///' | tail -n 1; lynx -dump a.html | grep -c T`, want: `x
1`},
	{name: "enscript", release: "trixie", packages: "enscript", asked: "a program, with its syntax, to PostScript", script: `echo 'int x;' >a.c; enscript -q -Ec -o a.ps a.c; head -n 1 a.ps; grep -c 'Courier-Bold' a.ps | grep -v '^0$' >/dev/null && echo bold`, want: `%!PS-Adobe-3.0
bold`},

	// Pictures.
	{name: "imagemagick", release: "trixie", packages: "imagemagick", asked: "convert between six formats", script: `picture >a.ppm; for f in png jpg webp tiff gif; do magick a.ppm a.$f; identify -format '%m %w %h\n' a.$f; done`, want: `PNG 60 40
JPEG 60 40
WEBP 60 40
TIFF 60 40
GIF 60 40`},
	{name: "inkscape", release: "trixie", packages: "inkscape", asked: "export a drawing to PNG and PDF", script: `
echo '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="40"><rect width="30" height="20" fill="red"/></svg>' >a.svg; inkscape -o a.png a.svg >log 2>&1; inkscape -o a.pdf a.svg >>log 2>&1; head -c 4 a.png | tail -c 3; echo; head -c 5 a.pdf`, want: `PNG
%PDF-`},
	{name: "graphviz", release: "trixie", packages: "graphviz", asked: "a graph as SVG and PNG", script: `echo 'digraph { a -> b }' | dot -Tsvg | grep -c '<title>'; echo 'graph { a -- b }' | neato -Tpng | head -c 4 | tail -c 3`, want: `3
PNG`},
	{name: "gnuplot", release: "trixie", packages: "gnuplot-nox", asked: "a plot to PNG and text, and help", script: `gnuplot -e 'set term pngcairo size 200,100; set output "a.png"; plot sin(x)'; head -c 4 a.png | tail -c 3; echo; gnuplot -e 'set term dumb; plot x' | grep -c '\*'  | grep -q '^[1-9]' && echo plotted; gnuplot -e 'help plot' </dev/null 2>&1 | grep -o -m 1 'primary command'`, want: `PNG
plotted
primary command`},
	{name: "rsvg-convert", release: "trixie", packages: "librsvg2-bin", asked: "a drawing to PNG and PDF", script: `echo '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="40"><text y="20">x</text></svg>' >a.svg; rsvg-convert a.svg | head -c 4 | tail -c 3; echo; rsvg-convert -f pdf a.svg | head -c 5`, want: `PNG
%PDF-`},
	{name: "optipng", release: "trixie", packages: "optipng", asked: "make a picture smaller", script: `picture >a.ppm; optipng -quiet -out a.png a.ppm; head -c 4 a.png | tail -c 3`, want: `PNG`},
	{name: "netpbm", release: "trixie", packages: "netpbm", asked: "a chain of conversions, text by its font", script: `picture | pnmscale 0.5 | pnmtopng | pngtopnm | pamfile | tr -s ' \t' ' '; pbmtext hello | pamfile | grep -o 'PBM raw'`, want: `.*PGM raw, 30 by 20.*
PBM raw`},
	{name: "vips", release: "trixie", packages: "libvips-tools", asked: "scale, to three formats", script: `picture >a.ppm; vips resize a.ppm a.png 0.5; vipsheader -f width a.png; for f in jpg webp; do vips copy a.png a.$f; vipsheader -f height a.$f; done`, want: `30
20
20`},
	{name: "cwebp", release: "trixie", packages: "webp", asked: "to WebP and back", script: `picture >a.ppm; cwebp -quiet a.ppm -o a.webp; dwebp -quiet a.webp -ppm -o - | head -n 2 | tail -n 1`, want: `60 40`},
	{name: "avifenc", release: "trixie", packages: "libavif-bin netpbm", asked: "to AVIF and back", script: `picture | pnmtopng >a.png; avifenc -s 10 a.png a.avif >log 2>&1; avifdec a.avif b.png >>log 2>&1; pngtopnm b.png | sed -n 2p`, want: `60 40`},
	{name: "povray", release: "trixie", packages: "povray povray-includes", asked: "render a scene that includes its own files", script: `printf '#include "colors.inc"\ncamera { location -3*z }\nlight_source { <2,4,-3> color White }\nsphere { 0, 1 pigment { color Red } }\n' >a.pov; povray +Ia.pov +Oa.png +W32 +H24 -D >log 2>&1; head -c 4 a.png | tail -c 3`, want: `PNG`},
	{name: "tesseract", release: "trixie", packages: "tesseract-ocr netpbm", asked: "read a text in a picture", script: `pbmtext -builtin fixed 'HELLO WORLD' | pnmscale 4 | pnmtopng >a.png; tesseract a.png - --psm 7 2>/dev/null | head -n 1`, want: `HELLO WORLD`},
	{name: "zbarimg", release: "trixie", packages: "zbar-tools qrencode", asked: "read a QR code that qrencode wrote", script: `qrencode -o a.png 'hello qr'; zbarimg -q --raw a.png`, want: `hello qr`},
	{name: "exiftool", release: "trixie", packages: "libimage-exiftool-perl webp", asked: "write and read a tag", script: `picture >a.ppm; cwebp -quiet a.ppm -o a.webp; exiftool -q -Artist=me a.webp; exiftool -s3 -Artist -ImageSize a.webp`, want: `me
60x40`},
	{name: "pango-view", release: "trixie", packages: "pango1.0-tools fonts-dejavu-core", asked: "a text in a font by its name", script: `pango-view --no-display -q -t hello --font='DejaVu Sans 12' -o a.png; head -c 4 a.png | tail -c 3`, want: `PNG`},
	{name: "fc-match", release: "trixie", packages: "fontconfig fonts-dejavu-core", asked: "find a font by its family", script: `fc-match 'DejaVu Sans' family; fc-match monospace family`, want: `DejaVu Sans
DejaVu Sans Mono`},
	{name: "fontforge", release: "trixie", packages: "fontforge-nox", asked: "make a font, by its own Python", script: `printf 'import fontforge\nf = fontforge.font(); f.fontname = "a"; g = f.createChar(65); p = g.glyphPen(); p.moveTo((0,0)); p.lineTo((0,500)); p.lineTo((500,0)); p.closePath(); f.generate("a.ttf"); print(fontforge.open("a.ttf").fontname)\n' >a.py; fontforge -lang=py -script a.py 2>log`, want: `a`},

	// Sound and video.
	{name: "ffmpeg", release: "trixie", packages: "ffmpeg", asked: "filters and encoders: H.264, Opus, MP3", script: `
ffmpeg -v error -f lavfi -i testsrc=d=0.2:s=64x48 -f lavfi -i sine=d=0.2 -c:v libx264 -c:a libopus a.mkv; ffprobe -v error -show_entries stream=codec_name -of csv=p=0 a.mkv; ffmpeg -v error -i a.mkv -vn -c:a libmp3lame a.mp3; ffprobe -v error -show_entries format=format_name -of csv=p=0 a.mp3`, want: `h264
opus
mp3`},
	{name: "sox", release: "trixie", packages: "sox libsox-fmt-mp3", asked: "an effect, and MP3 by a plugin", script: `wave >a.wav; sox a.wav a.mp3 reverse; soxi -t a.mp3; soxi -r a.mp3`, want: `mp3
44100`},
	{name: "gstreamer", release: "trixie", packages: "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good", asked: "pipelines to JPEG, WAV and Vorbis", script: `
gst-launch-1.0 -q videotestsrc num-buffers=1 ! jpegenc ! filesink location=a.jpg 2>log; gst-launch-1.0 -q audiotestsrc num-buffers=9 ! wavenc ! filesink location=a.wav 2>>log; gst-launch-1.0 -q filesrc location=a.wav ! wavparse ! audioconvert ! vorbisenc ! oggmux ! filesink location=a.ogg 2>>log; head -c 4 a.wav; echo; head -c 4 a.ogg; echo; head -c 10 a.jpg | tail -c 4`, want: `RIFF
OggS
JFIF`},
	{name: "mpv", release: "trixie", packages: "mpv", asked: "play, with its scripts in Lua", script: `wave >a.wav; printf 'mp.register_event("end-file", function(e) print("ended " .. e.reason) end)\n' >a.lua; mpv --vo=null --ao=null --script=a.lua a.wav 2>&1 | grep -o -e 'ended eof' -e 's16'| sort -u`, want: `ended eof
s16`},
	{name: "flac", release: "trixie", packages: "flac", asked: "to FLAC and back", script: `wave >a.wav; flac -s a.wav; flac -s -t a.flac && flac -s -d -o b.wav a.flac; [ "$(md5sum <a.wav)" = "$(md5sum <b.wav)" ]; metaflac --show-sample-rate a.flac; head -c 4 b.wav`, want: `44100
RIFF`},
	{name: "lame", release: "trixie", packages: "lame", asked: "to MP3 and back", script: `wave >a.wav; lame --quiet a.wav a.mp3; lame --quiet --decode a.mp3 b.wav; head -c 4 b.wav`, want: `RIFF`},
	{name: "vorbis-tools", release: "trixie", packages: "vorbis-tools", asked: "to Ogg Vorbis, with a tag", script: `wave >a.wav; oggenc -Q -t title a.wav; ogginfo a.ogg | grep -o -i 'title=title'`, want: `(?i)title=title`},
	{name: "opus-tools", release: "trixie", packages: "opus-tools", asked: "to Opus and back", script: `wave >a.wav; opusenc --quiet a.wav a.opus; opusdec --quiet a.opus b.wav; head -c 4 b.wav`, want: `RIFF`},
	{name: "espeak-ng", release: "trixie", packages: "espeak-ng", asked: "speak to a file, and phonemes", script: `espeak-ng -w a.wav hello; head -c 4 a.wav; espeak-ng -q -x hello`, want: `RIFF ?h@l'oU`},
	{name: "mediainfo", release: "trixie", packages: "mediainfo", asked: "the format of a file", script: `wave >a.wav; mediainfo --Inform='Audio;%Format% %SamplingRate%' a.wav`, want: `PCM 44100`},
	{name: "mkvtoolnix", release: "trixie", packages: "mkvtoolnix", asked: "put a file into Matroska and describe it", script: `wave >a.wav; mkvmerge -q -o a.mka a.wav; mkvmerge -i a.mka | tail -n 1`, want: `Track ID 0: audio \(PCM\)`},

	// Shells.
	{name: "zsh", release: "trixie", packages: "zsh", asked: "modules, functions and completion", script: `zsh -fc 'zmodload zsh/mathfunc zsh/pcre zsh/datetime; autoload -Uz compinit zmv; compinit -u -d dump; print $(( int(sqrt(4)) )) $_comps[ls]; [[ ab -pcre-match b ]] && print match; touch a.x; zmv "(*).x" "\$1.y"; ls *.y'`, want: `2 _ls
match
a.y`},
	{name: "bash", release: "trixie", packages: "bash bash-completion", asked: "completion of a command's arguments", script: `bash --norc -c '. /usr/share/bash-completion/bash_completion; _comp_load chmod 2>/dev/null || __load_completion chmod; complete -p chmod; echo ${BASH_VERSINFO[0]}.${BASH_VERSINFO[1]}'`, want: `complete -F \S+ chmod
5.2`},
	{name: "fish", release: "trixie", packages: "fish", asked: "functions, completion, mathematics", script: `fish -c 'math 6 x 7; string upper hello; functions -q fish_prompt; and echo prompt; complete -C"set --gl" | head -n 1 | string split \t | head -n 1'`, want: `42
HELLO
prompt
--global`},
	{name: "mksh", release: "trixie", packages: "mksh", asked: "arrays and arithmetic", script: `mksh -c 'set -A a 1 2; print ${a[1]} $((6*7)); typeset -u x=y; print $x'`, want: `2 42
Y`},
	{name: "ksh93", release: "trixie", packages: "ksh93u+m", asked: "compound variables and floating point", script: `ksh93 -c 'x=(a=1 b=2); print ${x.b} $((1.5*2)); float f=2; print $((sqrt(f)*sqrt(f) > 1.9))'`, want: `2 3
1`},
	{name: "tcsh", release: "trixie", packages: "tcsh", asked: "a script", script: `printf 'set a = (1 2)\n@ x = $a[2] * 21\necho $x\n' >a.csh; tcsh -f a.csh`, want: `42`},
	{name: "tmux", release: "trixie", packages: "tmux", asked: "a session, keys, its screen", script: `terminal sh; keys -l 'echo $((6*7))x'; keys Enter; within screen_has '^42x'; tmux -S tmux.socket capture-pane -p | grep -m 1 '^42x'; tmux -S tmux.socket kill-server`, want: `42x`},
	{name: "screen", release: "trixie", packages: "screen", asked: "a session and its screen", script: `mkdir -m 700 s; export SCREENDIR=$PWD/s; screen -c /dev/null -dmS a sh; sleep 1; screen -S a -X stuff 'echo $((6*7))x\n'; within sh -c "screen -S a -X hardcopy $PWD/h; grep -q '^42x' $PWD/h"; grep -m 1 '^42x' h; screen -S a -X quit`, want: `42x`},

	// The desktop.
	{name: "zenity", release: "trixie", packages: "zenity fonts-dejavu-core", display: true, asked: "a dialog of GTK 4", script: `zenity --info --title='A dialog' --text=hello >log 2>&1 & p=$!; window 'A dialog'; kill $p`, want: `A dialog
drawn`},
	{name: "zenity, files", release: "trixie", packages: "zenity fonts-dejavu-core", display: true, asked: "the file chooser of GTK 4", script: `zenity --file-selection --title='Choose one' >log 2>&1 & p=$!; window 'Choose one'; kill $p`, want: `Choose one
drawn`},
	{name: "yad", release: "trixie", packages: "yad fonts-dejavu-core", display: true, asked: "the file chooser of GTK 3", script: `yad --file --title='Choose one' >log 2>&1 & p=$!; window 'Choose one'; kill $p`, want: `Choose one
drawn`},
	{name: "mousepad", release: "trixie", packages: "mousepad fonts-dejavu-core", display: true, asked: "open a file (GTK 3)", script: `echo 'int x;' >note.c; GSETTINGS_BACKEND=memory mousepad --disable-server note.c >log 2>&1 & p=$!; window 'note.c - Mousepad'; kill $p`, want: `note.c - Mousepad
drawn`},
	{name: "gedit", release: "trixie", packages: "gedit fonts-dejavu-core", display: true, asked: "open a file (GTK 3, plugins)", script: `echo 'int x;' >note.c; GSETTINGS_BACKEND=memory gedit --standalone note.c >log 2>&1 & p=$!; window 'note.c'; kill $p`, want: `note.c
drawn`},
	{name: "featherpad", release: "trixie", packages: "featherpad fonts-dejavu-core", display: true, asked: "open a file (Qt 6, icons)", script: `echo 'int x;' >note.c; featherpad --standalone note.c >log 2>&1 & p=$!; window 'note.c'; kill $p`, want: `note.c
drawn`},
	{name: "qpdfview", release: "trixie", packages: "qpdfview fonts-dejavu-core", display: true, asked: "show a document by a plugin (Qt)", script: `pdf 'Hello PDF' >a.pdf; qpdfview a.pdf >log 2>&1 & p=$!; window 'a(.pdf)? .*- qpdfview'; kill $p`, want: `a.* - qpdfview
drawn`},
	{name: "zathura", release: "trixie", packages: "zathura zathura-pdf-poppler fonts-dejavu-core", display: true, asked: "show a document by a plugin (GTK 3)", script: `pdf 'Hello PDF' >a.pdf; zathura a.pdf >log 2>&1 & p=$!; window 'a.pdf'; kill $p`, want: `a.pdf
drawn`},
	{name: "galculator", release: "trixie", packages: "galculator fonts-dejavu-core", display: true, asked: "its window, which files describe (GTK 3)", script: `galculator >log 2>&1 & p=$!; window galculator; kill $p`, want: `galculator
drawn`},
	{name: "geany", release: "trixie", packages: "geany fonts-dejavu-core", display: true, asked: "open a file, with file types (GTK 3)", script: `echo 'int x;' >note.c; geany -i note.c >log 2>&1 & p=$!; window 'note.c .*Geany'; kill $p`, want: `note.c .*Geany
drawn`},
	{name: "wish", release: "trixie", packages: "tk fonts-dejavu-core", display: true, asked: "a window of Tk", script: `echo 'wm title . "A window"; package require msgcat; pack [ttk::button .b -text hello]; update' >a.tcl; wish a.tcl >log 2>&1 & p=$!; window 'A window'; kill $p`, want: `A window
drawn`},
	{name: "python3-tk", release: "trixie", packages: "python3 python3-minimal python3-tk fonts-dejavu-core", display: true, asked: "a window of tkinter", script: `python3 -c 'import tkinter, tkinter.ttk as t; r = tkinter.Tk(); r.title("A window"); t.Button(r, text="hello").pack(); r.mainloop()' >log 2>&1 & p=$!; window 'A window'; kill $p`, want: `A window
drawn`},
	{name: "xterm", release: "trixie", packages: "xterm fonts-dejavu-core", display: true, asked: "a terminal with a title", script: `xterm -fa 'DejaVu Sans Mono' -T 'A terminal' -e sh -c 'seq 20; exec sleep 60' >log 2>&1 & p=$!; window 'A terminal'; kill $p`, want: `A terminal
drawn`},
	{name: "xclock", release: "trixie", packages: "x11-apps", display: true, asked: "its window, with its resources", script: `xclock -render -update 1 >log 2>&1 & p=$!; window xclock; kill $p`, want: `xclock
drawn`},
	{name: "feh", release: "trixie", packages: "feh", display: true, asked: "show a picture", script: `picture >a.ppm; feh -g 200x100 --zoom fill --title 'A picture' a.ppm >log 2>&1 & p=$!; window 'A picture'; kill $p`, want: `A picture
drawn`},

	// Classics.
	{name: "gpg", release: "trixie", packages: "gpg gpg-agent", asked: "make a key, sign, verify", script: `
mkdir -m 700 g; export GNUPGHOME=$PWD/g; gpg --batch --quiet --passphrase '' --quick-gen-key a@b ed25519 sign 2>/dev/null; echo x >f; gpg --batch --quiet -o f.sig --detach-sign f 2>/dev/null; gpg --verify f.sig f 2>&1 | grep -o 'Good signature from "a@b"'; gpgconf --kill all`, want: `Good signature from "a@b"`},
	{name: "openssl", release: "trixie", packages: "openssl openssl-provider-legacy", asked: "the legacy provider, a certificate by its settings", script: `
echo x | openssl dgst -provider legacy -provider default -md4 | sed 's/.*= //'; openssl req -x509 -newkey rsa:2048 -nodes -keyout k -out c -days 1 -subj /CN=x 2>/dev/null; openssl verify -CAfile c c`, want: `[0-9a-f]{32}
c: OK`},
	{name: "ssh-keygen", release: "trixie", packages: "openssh-client", asked: "keys, a signature, the agent", script: `
ssh-keygen -q -t ed25519 -N '' -C me -f k; echo x >f; ssh-keygen -q -Y sign -f k -n file f 2>/dev/null; echo "me $(cat k.pub)" >allowed; ssh-keygen -Y verify -f allowed -I me -n file -s f.sig <f | cut -d' ' -f1-2; eval $(ssh-agent -s) >/dev/null; ssh-add -q k 2>/dev/null; ssh-add -l | grep -c ED25519; ssh-agent -k >/dev/null`, want: `Good "file"
1`},
	{name: "curl", release: "trixie", packages: "curl openssl", asked: "a page by TLS from the loopback", script: `
openssl req -x509 -newkey rsa:2048 -nodes -keyout k -out c -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null; openssl s_server -accept 4433 -key k -cert c -WWW -quiet >/dev/null 2>&1 & p=$!; echo 'by TLS' >a.txt
within curl -sf --cacert c https://localhost:4433/a.txt; curl -s --cacert c https://localhost:4433/a.txt; kill $p`, want: `by TLS`},
	{name: "wget", release: "trixie", packages: "wget busybox", asked: "mirror pages from the loopback", script: `mkdir w; echo '<a href=b.html>b</a>' >w/index.html; echo b >w/b.html; busybox httpd -f -p 127.0.0.1:8086 -h w & p=$!; within wget -q -O /dev/null http://127.0.0.1:8086/index.html; wget -q -r http://127.0.0.1:8086/index.html; ls 127.0.0.1:8086; kill $p`, want: `b.html
index.html`},
	{name: "file", release: "trixie", packages: "file", asked: "tell kinds of files by its magic", script: `picture >a; wave >b; pdf x >c; file -b a b c | cut -d, -f1,2; file -b --mime-type b`, want: `Netpbm image data, size = 60 x 40
RIFF \(little-endian\) data, WAVE audio
PDF document, version 1.4.*
audio/x-wav`},
	{name: "less", release: "trixie", packages: "less tmux", asked: "page a file and search in a terminal", script: `seq 100 >f; terminal less f; within screen_has '^23'; keys -l '/^77'; keys Enter; within screen_has '^90'; tmux -S tmux.socket capture-pane -p | head -n 1; keys q`, want: `77`},
	{name: "mc", release: "trixie", packages: "mc tmux", asked: "its panels, and the viewer, in a terminal", script: `echo hello >a.txt; terminal mc -u -b; within screen_has 'a.txt'; keys F10; echo panels`, want: `panels`},
	{name: "htop", release: "trixie", packages: "htop tmux", asked: "the list of processes in a terminal", script: `terminal htop -C; within screen_has 'Load average'; within screen_has htop; keys q; echo shown`, want: `shown`},
	{name: "borg", release: "trixie", packages: "borgbackup", asked: "a repository, an archive, and back", script: `export BORG_PASSPHRASE=x BORG_BASE_DIR=$PWD/b; mkdir a; echo x >a/f; borg init -e repokey r 2>/dev/null; borg create r::one a; borg list --short r; mkdir o; cd o; borg extract ../r::one; cat a/f`, want: `one
x`},
	{name: "restic", release: "trixie", packages: "restic", asked: "a repository, a backup, a check, and back", script: `export RESTIC_PASSWORD=x; mkdir a; echo x >a/f; restic -q -r r init; restic -q -r r backup a; restic -q -r r check >/dev/null; restic -q -r r restore latest --target o >/dev/null; find o -name f -exec cat {} +`, want: `x`},
	{name: "nmap", release: "trixie", packages: "nmap busybox", asked: "a port, its service, a script", script: `mkdir w; echo '<title>T42</title>' >w/index.html; busybox httpd -f -p 127.0.0.1:8080 -h w & p=$!; sleep 1; nmap -n -Pn -sT -p 8080 --script=http-title 127.0.0.1 | grep -o -e '8080/tcp open  http-proxy' -e T42; kill $p`, want: `8080/tcp open  http-proxy
T42`},
	{name: "tcpdump", release: "trixie", packages: "tcpdump", asked: "read a capture", script: `
printf '\324\303\262\241\2\0\4\0\0\0\0\0\0\0\0\0\0\0\4\0\145\0\0\0\1\0\0\0\0\0\0\0\36\0\0\0\36\0\0\0E\0\0\36\0\1\0\0@\21\0\0\177\0\0\1\177\0\0\1\23\210\23\211\0\12\0\0hi' >a.pcap; tcpdump -nn -t -r a.pcap 2>/dev/null`, want: `IP 127.0.0.1.5000 > 127.0.0.1.5001: UDP, length 2`},
	{name: "tshark", release: "trixie", packages: "tshark", asked: "read a capture", script: `
printf '\324\303\262\241\2\0\4\0\0\0\0\0\0\0\0\0\0\0\4\0\145\0\0\0\1\0\0\0\0\0\0\0\36\0\0\0\36\0\0\0E\0\0\36\0\1\0\0@\21\0\0\177\0\0\1\177\0\0\1\23\210\23\211\0\12\0\0hi' >a.pcap; tshark -n -r a.pcap -T fields -e ip.src -e udp.dstport 2>/dev/null | tr '\t' ' '`, want: `127.0.0.1 5001`},
	{name: "jq", release: "trixie", packages: "jq", asked: "a filter with a regular expression and a module", script: `echo 'def f: .*2;' >m.jq; echo '[1,2]' | jq -c -L . 'import "m" as m; map(m::f)'; echo '"aXb"' | jq -r 'ascii_downcase | test("x")'`, want: `\[2,4\]
true`},
	{name: "yq", release: "trixie", packages: "yq", asked: "a value in YAML", script: `printf 'a:\n  - b: 42\n' | yq '.a[0].b'`, want: `42`},
	{name: "bc", release: "trixie", packages: "bc", asked: "the library of functions", script: `echo 'scale=10; 4*a(1)' | bc -l`, want: `3.1415926532`},
	{name: "units", release: "trixie", packages: "units", asked: "convert by its table", script: `units -t '2 miles' 'km'; units -t 'tempF(212)' tempC`, want: `3.218688
100`},
	{name: "fortune, cowsay", release: "trixie", packages: "fortune-mod fortunes-min cowsay", asked: "a fortune, said by a cow of its own", script: `fortune -s | wc -c | grep -q '^[1-9]' && echo fortune; echo moo | cowsay -f tux | grep -c moo`, want: `fortune
1`},
	{name: "ansible", release: "trixie", packages: "ansible-core", asked: "modules and a template on the local machine", script: `printf -- '- hosts: localhost\n  connection: local\n  gather_facts: false\n  tasks:\n  - copy: {content: "{{ 6*7 }}", dest: out}\n' >a.yml; ansible localhost -m ping 2>/dev/null | grep -o pong; ansible-playbook a.yml >log 2>&1; cat out`, want: `pong
42`},
	{name: "mke2fs", release: "trixie", packages: "e2fsprogs", asked: "a file system with the features of its settings", script: `PATH=$PATH:/usr/sbin:/sbin; truncate -s 8M i; mke2fs -q -t ext4 -F i; dumpe2fs -h i 2>/dev/null | grep -c 'extent.*metadata_csum'; echo x >f; debugfs -w -R 'write f g' i 2>/dev/null >/dev/null; debugfs -R 'cat g' i 2>/dev/null`, want: `1
x`},
	{name: "mtools", release: "trixie", packages: "mtools", asked: "a file on a disk of DOS", script: `truncate -s 1440K i; mformat -i i -f 1440 ::; echo x >f; mcopy -i i f ::; mdir -b -i i ::; mtype -i i ::f`, want: `::/f
x`},
	{name: "xorriso", release: "trixie", packages: "xorriso", asked: "write and read an ISO image", script: `mkdir d; echo x >d/f; xorriso -as mkisofs -quiet -o a.iso d 2>log; xorriso -osirrox on -indev a.iso -extract /f g 2>>log >/dev/null; cat g`, want: `x`},
	{name: "mksquashfs", release: "trixie", packages: "squashfs-tools", asked: "write and read an image by zstd", script: `mkdir d; echo x >d/f; mksquashfs d a.sq -quiet -no-progress -comp zstd >log; unsquashfs -q -n -d o a.sq >>log; cat o/f`, want: `x`},
	{name: "qemu-img", release: "trixie", packages: "qemu-utils", asked: "make an image and convert it", script: `qemu-img create -q -f qcow2 a.qcow2 4M; qemu-img convert -O vmdk a.qcow2 a.vmdk; qemu-img info a.vmdk | grep 'file format: vmdk'`, want: `file format: vmdk`},
	{name: "7z", release: "trixie", packages: "7zip", asked: "pack and unpack", script: `echo x >f; 7z a -bso0 a.7z f; 7z x -bso0 -oo a.7z; cat o/f`, want: `x`},
	{name: "parallel", release: "trixie", packages: "parallel", asked: "jobs in order", script: `parallel --will-cite -k echo {}{} ::: a b`, want: `aa
bb`},
	{name: "miller", release: "trixie", packages: "miller", asked: "CSV to JSON", script: `printf 'a,b\n1,2\n' | mlr --icsv --ojsonl put '$c = $a + $b'`, want: `\{"a": 1, "b": 2, "c": 3\}`},
	{name: "socat", release: "trixie", packages: "socat", asked: "an echo by TLS", script: `socat TCP-LISTEN:7777,bind=127.0.0.1,fork EXEC:cat & p=$!; within sh -c 'echo hello | socat -t 1 - TCP:127.0.0.1:7777 | grep hello'; echo hello | socat -t 1 - TCP:127.0.0.1:7777; kill $p`, want: `hello`},
	{name: "gnutls", release: "trixie", packages: "gnutls-bin", asked: "a certificate and a handshake", script: `
certtool --generate-privkey --ecc --outfile k >/dev/null 2>&1; printf 'cn = localhost\ntls_www_server\ndns_name = localhost\nca\ncert_signing_key\n' >t; certtool --generate-self-signed --load-privkey k --template t --outfile c >/dev/null 2>&1
gnutls-serv -q -p 5556 --x509keyfile k --x509certfile c >log 2>&1 & p=$!; within sh -c 'echo | gnutls-cli -p 5556 --x509cafile c localhost'; echo | gnutls-cli -p 5556 --x509cafile c localhost | grep -o 'Handshake was completed'; kill $p`, want: `Handshake was completed`},
	{name: "rpmbuild", release: "trixie", packages: "rpm", asked: "its macros, and a package", script: `rpm --eval '%{_libdir}'; printf 'Name: a\nVersion: 1\nRelease: 1\nSummary: a\nLicense: a\nBuildArch: noarch\n%%description\na\n%%install\nmkdir -p %%{buildroot}/x\n%%files\n/x\n' >a.spec; rpmbuild -bb --quiet --define "_topdir $PWD/t" --define "_dbpath $PWD/db" a.spec >log 2>&1; rpm --dbpath $PWD/db -qp --qf '%{name} %{version}\n' t/RPMS/noarch/*.rpm 2>/dev/null`, want: `/usr/lib.*
a 1`},
	{name: "debhelper", release: "trixie", packages: "debhelper dpkg-dev", asked: "build a package of its own", script: `
mkdir -p a/debian/source; cd a; printf 'Source: ab\nMaintainer: a <a@b>\nBuild-Depends: debhelper-compat (= 13)\nStandards-Version: 4.7.0\n\nPackage: ab\nArchitecture: all\nDescription: a\n a\n' >debian/control; printf 'ab (1) unstable; urgency=low\n\n  * a\n\n -- a <a@b>  Thu, 01 Jan 1970 00:00:00 +0000\n' >debian/changelog; printf '#!/usr/bin/make -f\n%%:\n\tdh $@\n' >debian/rules; chmod +x debian/rules; echo 3.0 '(native)' >debian/source/format; echo x >f; echo 'f opt' >debian/install
dpkg-buildpackage -us -uc -b -d -rfakeroot >../log 2>&1 || dpkg-buildpackage -us -uc -b -d >../log 2>&1; cd ..; dpkg-deb -f ab_1_all.deb Package`, want: `ab`},
	{name: "bats", release: "trixie", packages: "bats", asked: "run a test", script: `printf '@test "adds" { [ $((1+1)) = 2 ]; }\n' >a.bats; bats --tap a.bats`, want: `1\.\.1
ok 1 adds`},
	{name: "task", release: "trixie", packages: "taskwarrior", asked: "add a task and list it", script: `printf 'data.location=%s/t\n' $PWD >.taskrc; mkdir t; task rc.confirmation=no add buy milk >/dev/null 2>&1; task rc.verbose=nothing export 2>/dev/null | grep -o 'buy milk'`, want: `buy milk`},

	// Other releases.
	{name: "python3", release: "bullseye", packages: "python3 python3-minimal python3-requests python3-venv", asked: "modules, and a virtual environment", script: `
python3 -c 'import ssl, sqlite3, lzma, requests, sys; print(sqlite3.connect(":memory:").execute("select 6*7").fetchone()[0], sys.version_info[:2], requests.__name__)'; python3 -m venv v; v/bin/python -c 'import pip; print(pip.__name__)'`, want: `42 \(3, 9\) requests
pip`},
	{name: "perl", release: "bullseye", packages: "perl perl-base libjson-perl", asked: "JSON and Unicode names", script: `perl -MJSON -Mcharnames=:full -e 'print JSON->new->encode([1]), length("\N{GREEK SMALL LETTER ALPHA}"), " $^V\n"'`, want: `\[1\]1 v5\.32\.1`},
	{name: "ruby", release: "bullseye", packages: "ruby", asked: "json and openssl", script: `ruby -rjson -ropenssl -e 'puts JSON.generate([1]), OpenSSL::Digest.new("SHA256").hexdigest("x")[0, 8], RUBY_VERSION'`, want: `\[1\]
2d711642
2\.7\..*`},
	{name: "gcc", release: "bullseye", packages: "gcc libc6-dev", asked: "compile, link and run", script: `printf '#include <stdio.h>\nint main(void) { printf("%%d %%d\\n", 6*7, __GNUC__); }\n' >a.c; gcc -o a a.c; ./a`, want: `42 10`},
	{name: "vim", release: "bullseye", packages: "vim", asked: "syntax and help", script: `
printf 'int main(void) { return 0; }\n' >a.c; vim.basic -u NONE -N -es -c 'syntax on' -c 'edit a.c' -c 'redir! > out' -c 'silent echo b:current_syntax' -c 'help usr_01' -c 'silent echo expand("%:t")' -c 'redir END' -c 'qa!' || true; grep -v '^"' out | tr -s '\n'`, want: `\s*c
usr_01.txt`},
	{name: "git", release: "bullseye", packages: "git", asked: "commit, clone, rebase", script: `
git config --global user.email a@b; git config --global user.name a; git init -q s; cd s; echo x >f; git add f; git commit -qm one; echo y >>f; git commit -qam two; cd ..; git clone -q "file://$PWD/s" c; cd c; GIT_SEQUENCE_EDITOR='sed -i -e "2s/^pick/fixup/"' git rebase -q -i --root; git log --format=%s`, want: `one`},
	{name: "ffmpeg", release: "bullseye", packages: "ffmpeg", asked: "H.264 and Opus", script: `ffmpeg -v error -f lavfi -i testsrc=d=0.2:s=64x48 -f lavfi -i sine=d=0.2 -c:v libx264 -c:a libopus a.mkv; ffprobe -v error -show_entries stream=codec_name -of csv=p=0 a.mkv`, want: `h264
opus`},
	{name: "imagemagick", release: "bullseye", packages: "imagemagick", asked: "convert between formats", script: `picture >a.ppm; for f in png jpg gif; do convert a.ppm a.$f; identify -format '%m %w %h\n' a.$f; done`, want: `PNG 60 40
JPEG 60 40
GIF 60 40`},
	{name: "zsh", release: "bullseye", packages: "zsh", asked: "modules and completion", script: `zsh -fc 'zmodload zsh/mathfunc zsh/pcre; autoload -Uz compinit; compinit -u -d dump; print $(( int(sqrt(4)) )) $_comps[ls] $ZSH_VERSION'`, want: `2 _ls 5\.8.*`},
	{name: "emacs", release: "bullseye", packages: "emacs-nox", asked: "its own libraries", script: `emacs -Q --batch --eval '(progn (require (quote json)) (require (quote org)) (princ (json-encode (list 1 emacs-major-version))))' 2>log`, want: `\[1,27\]`},
	{name: "featherpad", release: "bullseye", packages: "featherpad fonts-dejavu-core", display: true, asked: "open a file (Qt 5)", script: `echo 'int x;' >note.c; featherpad --standalone note.c >log 2>&1 & p=$!; window 'note.c'; kill $p`, want: `note.c
drawn`},
	{name: "redis", release: "bullseye", packages: "redis-server redis-tools", asked: "start, set, get", script: `redis-server --port 0 --unixsocket $PWD/s --save '' --logfile $PWD/log --dir $PWD & p=$!; within redis-cli -s s ping; redis-cli -s s set a 42 >/dev/null; redis-cli -s s get a; redis-cli -s s shutdown nosave || true; wait $p || true`, want: `42`},
	{name: "python3", release: "sid", packages: "python3 python3-minimal python3-requests", asked: "modules", script: `python3 -c 'import ssl, sqlite3, lzma, requests, sys; print(sqlite3.connect(":memory:").execute("select 6*7").fetchone()[0], sys.version_info >= (3, 13), requests.__name__)'`, want: `42 True requests`},
	{name: "perl", release: "sid", packages: "perl perl-base libjson-perl", asked: "JSON", script: `perl -MJSON -e 'print JSON->new->encode([1]), $] > 5.04, "\n"'`, want: `\[1\]1`},
	{name: "git", release: "sid", packages: "git", asked: "commit and clone", script: `
git config --global user.email a@b; git config --global user.name a; git init -q s; cd s; echo x >f; git add f; git commit -qm one; cd ..; git clone -q "file://$PWD/s" c; git -C c log --format=%s`, want: `one`},
	{name: "jq", release: "sid", packages: "jq", asked: "a filter", script: `echo '[1,2]' | jq -c 'map(.*2), (now | type)'`, want: `\[2,4\]
"number"`},
	{name: "neovim", release: "sid", packages: "neovim", asked: "file types, help and Lua", script: `
printf 'int x;\n' >a.c; nvim --headless -u NONE -c 'filetype plugin on' -c 'edit a.c' -c 'lua io.stdout:write(vim.bo.filetype, "\n")' -c 'help lua-guide' -c 'lua io.stdout:write(vim.fn.expand("%:t"), "\n")' -c 'qa!' 2>log`, want: `c
lua-guide.txt`},
	{name: "gcc", release: "sid", packages: "gcc libc6-dev", asked: "compile, link and run", script: `printf '#include <stdio.h>\nint main(void) { printf("%%d %%d\\n", 6*7, __GNUC__ > 14); }\n' >a.c; gcc -o a a.c; ./a`, want: `42 1`},
	{name: "fish", release: "sid", packages: "fish", asked: "functions and mathematics", script: `fish -c 'math 6 x 7; functions -q fish_prompt; and echo prompt'`, want: `42
prompt`},
	{name: "curl", release: "sid", packages: "curl", asked: "a file", script: `echo x >f; curl -s "file://$PWD/f"; curl -s http://127.0.0.1:1/ || echo refused`, want: `x
refused`},
	{name: "file", release: "sid", packages: "file", asked: "tell kinds of files", script: `picture >a; wave >b; file -b a b | cut -d, -f1,2`, want: `Netpbm image data, size = 60 x 40
RIFF \(little-endian\) data, WAVE audio`},
	{name: "bison", release: centos, packages: "bison m4 glibc", asked: "a parser, by its skeletons and m4", script: `printf '%%%%\ns: ;\n%%%%\n' >a.y; bison -o a.c a.y; grep -o -m 1 yyparse a.c; bison -x -o b.c a.y; grep -c '<automaton>' a.xml b.xml 2>/dev/null | tail -n 1 | sed 's/.*://'`, want: `yyparse
1`},
	{name: "flex", release: centos, packages: "flex m4 glibc", asked: "a scanner, by m4", script: `printf '%%%%\n. ;\n%%%%\n' >a.l; flex -o a.c a.l; grep -o -m 1 yylex a.c`, want: `yylex`},
	{name: "m4", release: centos, packages: "m4 glibc", asked: "a macro", script: `echo 'define(f, $1$1)f(a) eval(6*7)' | m4`, want: `aa 42`},
}
