//go:build system

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// imagePackages are the packages of the image whose programs do their work.
var imagePackages = []string{
	"jq", "sqlite3", "python3", "python3-yaml", "perl", "git", "curl", "vim-nox",
	"7zip", "apache2-bin", "bison", "cmake", "ffmpeg", "file", "fish", "g++", "gawk", "ghostscript", "gnupg", "gnutls-bin", "groff", "imagemagick", "libc-bin",
	"libnss-myhostname", "librsvg2-bin", "libxml2-utils", "locales-all", "lua5.4", "make", "nginx", "ninja-build", "nodejs", "openjdk-21-jre-headless", "openssh-client",
	"aspell", "aspell-en", "graphviz", "gsettings-desktop-schemas", "libglib2.0-bin", "php8.4-cli", "php8.4-mbstring", "php8.4-xml",
	"openssl", "poppler-utils", "redis-server", "restic", "ripgrep", "rsync", "ruby", "tcl", "tesseract-ocr", "tmux", "xsltproc", "xz-utils", "zstd",
}

// imageCases are programs that do their work in a container of one image. Each prints want.
var imageCases = []struct{ name, script, want string }{
	{"jq", `echo '{"a":[1,41]}' | jq '.a|add'`, "42\n"},
	{"sqlite3", `sqlite3 :memory: 'create table t(a); insert into t values(1),(41); select sum(a) from t'`, "42\n"},
	{"python3", `python3 -c 'import ssl, sqlite3, ctypes, zlib, lzma, hashlib, json, zoneinfo, subprocess
print(zoneinfo.ZoneInfo("Europe/Berlin").key, len(ssl.create_default_context().get_ca_certs()) > 100)
print(json.loads(subprocess.check_output("echo [42] | sed s/x/y/", shell=True))[0], sqlite3.connect(":memory:").execute("select 1").fetchone())'`, "Europe/Berlin True\n42 (1,)\n"},
	{"python3-yaml", `python3 -c 'import yaml; print(yaml.safe_load("a: [1, 2]"), yaml.CSafeLoader is not None)'`, "{'a': [1, 2]} True\n"},
	{"perl", `perl -MPOSIX -MJSON::PP -MDigest::SHA=sha1_hex -e 'print encode_json([floor(42.5)]), sha1_hex("x"), "\n"'`, "[42]11f6ad8ec52a2984abaafd7c3b516503785c2072\n"},
	{"git", `cd /tmp && git init -q r && cd r && git config user.name a && git config user.email b@c && echo x >f && git add f && git commit -qm m && git clone -q --no-local . ../s && git -C ../s log --format=%s && git submodule status`, "m\n"},
	{"curl", `cd /tmp && echo it works >x && curl -s file:///tmp/x && curl --version | grep -c OpenSSL`, "it works\n1\n"},
	{"vim", `cd /tmp && printf 'b\na\n' >x && vim --not-a-term -es -u NONE -c 'sort' -c 'python3 import vim; vim.current.buffer.append(str(6*7))' -c 'perl $curbuf->Append(3, "p")' -c 'wq' x; cat x; vim --not-a-term -es -c 'redir! >/tmp/help' -c 'silent help' -c 'silent echo expand("%")' -c 'qa!'; grep -q help.txt /tmp/help && echo help`, "a\nb\n42\np\nhelp\n"},
	{"users", `id -un && cd /tmp && touch x && ls -l x | awk '{print $3, $4}'`, "nobody\nnobody nogroup\n"},
	{"7z", `seq 99999 >x; 7z a -bso0 x.7z x && 7z e -bso0 -so x.7z | cmp - x && echo same`, "same\n"},
	// Modules of a server, with the user's files.
	{"apache2", `mkdir w l; echo served >w/x; cat >c <<'X'
ServerRoot /tmp
ServerName x
PidFile /tmp/l/pid
ErrorLog /tmp/l/error
Listen 127.0.0.1:8081
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
DocumentRoot /tmp/w
Mutex file:/tmp/l
X
/usr/sbin/apache2 -f /tmp/c; curl -s --retry 20 --retry-delay 1 --retry-connrefused http://127.0.0.1:8081/x; kill $(cat l/pid)`, "served\n"},
	// Data at a path that is compiled in.
	{"bison", `printf '%%%%token A\n%%%%%%%%\ns: A | s A;\n' | sed s/%%/%/g >x.y; bison -o x.c x.y && grep -q yyparse x.c && echo parser`, "parser\n"},
	// C++ programs that have a compiler make another one, by their modules, with threads.
	{"cmake, ninja, g++", `cat >CMakeLists.txt <<'X'
cmake_minimum_required(VERSION 3.20)
project(x CXX)
find_package(Threads REQUIRED)
add_executable(x x.cc)
target_link_libraries(x Threads::Threads)
X
cat >x.cc <<'X'
#include <iostream>
#include <thread>
int main() { int x = 0; std::thread t([&] { x = 42; }); t.join(); try { throw x; } catch (int n) { std::cout << n << std::endl; } }
X
cmake -G Ninja -B b . >/dev/null && ninja -C b >/dev/null && b/x; g++ -static -o s x.cc && ./s`, "42\n42\n"},
	{"ffmpeg", `ffmpeg -v error -f lavfi -i testsrc=duration=1:size=64x48:rate=5 -c:v libx264 -threads 2 x.mp4 && ffprobe -v error -show_entries stream=codec_name,nb_frames -of csv=p=0 x.mp4`, "h264,5\n"},
	{"file", `file -b --mime-type /usr/bin/file`, "application/x-pie-executable\n"},
	// Rust, with functions that are files.
	{"fish", `fish -c 'string match -r a+ baab; math 6 x 7; functions -q fish_prompt; and echo data'`, "aa\n42\ndata\n"},
	{"gawk", `gawk '@load "filefuncs"; BEGIN { stat("/", s); print s["type"] }'`, "directory\n"},
	{"gs, pdftotext, tesseract", `gs -q -dSAFER -dBATCH -dNOPAUSE -sDEVICE=pdfwrite -sOutputFile=x.pdf -c '/Helvetica findfont 20 scalefont setfont 72 72 moveto (forty two) show showpage'
pdftotext x.pdf - | head -n 1; pdftoppm -png -r 100 x.pdf p; tesseract p-1.png - 2>/dev/null | head -n 1`, "forty two\nforty two\n"},
	{"gpg", `gpg -q --batch --passphrase '' --quick-gen-key a@b 2>/dev/null; echo hi >x; gpg -q --batch --passphrase '' -s x; gpg -q -d x.gpg 2>/dev/null; gpgconf --kill all`, "hi\n"},
	{"groff", `printf '.TH A 1\n.SH NAME\na \\- b\n' | groff -Tutf8 -man | grep -c NAME; echo hello | groff -Tps | head -n 1`, "1\n%!PS-Adobe-3.0\n"},
	{"imagemagick", `magick -size 20x10 gradient:red-blue x.png && magick x.png -resize 200% y.webp && magick identify -format '%m %wx%h\n' y.webp`, "WEBP 40x20\n"},
	{"java", `cat >A.java <<'X'
public class A {
	public static void main(String[] a) throws Exception {
		System.out.println(java.util.stream.IntStream.range(0, 1000).parallel().sum() + " " + java.time.ZonedDateTime.of(2026, 7, 1, 0, 0, 0, 0, java.time.ZoneId.of("Europe/Berlin")).getOffset());
		System.out.println(java.security.MessageDigest.getInstance("SHA-256").getDigestLength() + " " + new java.util.zip.CRC32().getValue());
	}
}
X
java A.java`, "499500 +02:00\n32 0\n"},
	{"locales", `LC_ALL=de_DE.UTF-8 date -d @0 +%A; LC_ALL=de_DE.UTF-8 printf '%.1f\n' 1,5; LC_ALL=tr_TR.UTF-8 perl -Mlocale -MPOSIX -e 'print setlocale(LC_ALL, ""), "\n"'`, "Donnerstag\n1,5\ntr_TR.UTF-8\n"},
	// Indexes and settings that scripts would make.
	{"dot", `echo 'digraph { a -> b }' | dot -Tsvg | grep -c '<polygon'; echo 'graph { a -- b }' | neato -Tpng | file -b - | cut -d, -f1`, "2\nPNG image data\n"},
	{"aspell", `echo helo world | aspell list`, "helo\n"},
	{"gsettings", `GSETTINGS_BACKEND=memory gsettings get org.gnome.desktop.interface clock-format`, "'24h'\n"},
	{"php", `php -r '$d = new DOMDocument; $d->loadXML("<a>é</a>"); echo mb_strlen($d->documentElement->textContent), ini_get("memory_limit"), "\n";'`, "1-1\n"},
	{"lua", `lua5.4 -e 'print(utf8.len("äö"), #string.rep("x", 42))'`, "2\t42\n"},
	{"make", `printf 'x: y\n\t@cat y >x\ny:\n\t@echo 42 >y\n' >Makefile; make -j2; cat x`, "42\n"},
	{"nginx", `mkdir w; echo served >w/x.css; cat >c <<'X'
pid /tmp/pid; error_log /tmp/error; worker_processes 2; events {}
http {
	access_log off; include /etc/nginx/mime.types;
	client_body_temp_path /tmp/1; proxy_temp_path /tmp/2; fastcgi_temp_path /tmp/3; uwsgi_temp_path /tmp/4; scgi_temp_path /tmp/5;
	server { listen 127.0.0.1:8080; root /tmp/w; }
}
X
nginx -e /tmp/error -c /tmp/c; curl -s --retry 20 --retry-delay 1 --retry-connrefused -w '%{content_type}\n' http://127.0.0.1:8080/x.css; kill $(cat pid)`, "served\ntext/css\n"},
	{"node", `node -e 'const z = require("zlib"); console.log(z.gunzipSync(z.gzipSync("ok")).toString(), new Intl.DateTimeFormat("de", {timeZone: "Asia/Tokyo", dateStyle: "full"}).format(0))
new (require("worker_threads").Worker)("require(\"worker_threads\").parentPort.postMessage(42)", {eval: true}).on("message", n => console.log(n))'`, "ok Donnerstag, 1. Januar 1970\n42\n"},
	// Users, hosts and groups: files, and a module that is named.
	{"nss", `getent passwd www-data | cut -d: -f1,6; getent group nogroup; getent hosts localhost | awk '{print $2}'; getent -s hosts:myhostname hosts localhost | awk '{print $2}'`, "www-data:/var/www\nnogroup:x:65534:\nlocalhost\nlocalhost\n"},
	// A provider that is loaded, and the authorities of --with ca-certificates, as a directory and a file.
	{"openssl", `printf x | openssl dgst -provider legacy -md4 -r | cut -c1-8; ca=/usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt
openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt $ca; openssl verify -CApath /etc/ssl/certs $ca`, "51b834b7\n/usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt: OK\n/usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt: OK\n"},
	{"redis", `redis-server --port 0 --unixsocket /tmp/s --daemonize yes --save '' --dir /tmp >/dev/null; for i in $(seq 50); do [ -S s ] && break; sleep 0.1; done
redis-cli -s s incrby x 42; redis-cli -s s eval 'return 6*7' 0; redis-cli -s s shutdown nosave`, "42\n42\n"},
	// Go.
	{"restic", `mkdir d; echo hi >d/f; export RESTIC_PASSWORD=x; restic -q init -r r; restic -q -r r backup d; restic -q -r r restore latest -t out >/dev/null; restic -q -r r check; cat out/d/f`, "hi\n"},
	// Rust.
	{"ripgrep", `printf 'a\nbb\n' >x; rg -c b+ x; rg --pcre2 -o '(?<=b)b' x`, "1\nb\n"},
	{"rsvg-convert", `echo '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="4"><rect width="8" height="4" fill="red"/></svg>' >x.svg; rsvg-convert -o x.png x.svg && file -b x.png`, "PNG image data, 8 x 4, 8-bit/color RGB, non-interlaced\n"},
	{"rsync", `mkdir a; echo hi >a/f; rsync -a --checksum-choice=xxh3 a/ b/; cat b/f`, "hi\n"},
	{"ruby", `ruby -ropenssl -rjson -rzlib -e 'puts OpenSSL::Digest::SHA1.hexdigest("x")[0, 6], JSON.dump([Zlib.crc32("")])'`, "11f6ad\n[0]\n"},
	{"ssh-keygen", `ssh-keygen -q -t ed25519 -N '' -f k; eval $(ssh-agent) >/dev/null; ssh-add -q k; ssh-add -l | wc -l; echo x | ssh-keygen -q -Y sign -f k -n a 2>/dev/null | head -n 1; kill $SSH_AGENT_PID`, "1\n-----BEGIN SSH SIGNATURE-----\n"},
	{"tcl", `echo 'package require http; puts [clock format 0 -timezone :Asia/Tokyo]' | tclsh`, "Thu Jan 01 09:00:00 JST 1970\n"},
	{"time zones", `TZ=Asia/Tokyo date -d @0 +%H:%M`, "09:00\n"},
	// TLS by OpenSSL and by GnuTLS, to a server of its own, with its authority and without.
	{"tls", `openssl req -x509 -newkey rsa:2048 -nodes -keyout k -out c -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null
openssl s_server -key k -cert c -accept 8443 -www -quiet & p=$!
curl -s --retry 20 --retry-delay 1 --retry-connrefused --cacert c https://localhost:8443/ -o /dev/null -w '%{http_code}\n'; curl -s https://localhost:8443/ || echo $?
gnutls-cli --x509cafile c -p 8443 localhost </dev/null | grep -o 'The certificate is trusted'; kill $p`, "200\n60\nThe certificate is trusted\n"},
	{"tmux", `export TERM=xterm; tmux -S /tmp/s new-session -d 'tmux -S /tmp/s display-message -p "#{session_windows} window" >/tmp/o; sleep 60'; for i in $(seq 50); do [ -s o ] && break; sleep 0.1; done; cat o; tmux -S /tmp/s kill-server`, "1 window\n"},
	{"xmllint, xsltproc", `echo '<a><b>42</b></a>' >x.xml; xmllint --xpath 'string(//b)' x.xml; cat >x.xsl <<'X'
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><xsl:output method="text"/><xsl:template match="/"><xsl:value-of select="//b"/></xsl:template></xsl:stylesheet>
X
xsltproc x.xsl x.xml`, "42\n42"},
	{"xz, zstd", `seq 999999 >x; xz -T2 -k x; xz -dc x.xz | cmp - x && echo same; zstd -q -T2 x; zstd -qdc x.zst | cmp - x && echo same`, "same\nsame\n"},
}

// TestSystemImagePrograms has programs do their work in containers of an image, as a user without rights; without the
// image's /usr none would.
func TestSystemImagePrograms(t *testing.T) {
	m := newImageMaker(t)
	args := append([]string{"--from", "trixie", "--with", "ca-certificates,tzdata,utilities", "-o", "oci:programs"}, imagePackages...)
	made := m.made(m.command("cache", args...))
	if made.Layers > 100 {
		t.Errorf("%d layers", made.Layers)
	}
	b := m.unpack("programs:latest", made)
	for _, c := range imageCases {
		if out, err := b.container(65534, "bash", "-ec", "export HOME=/tmp; rm -rf /tmp/* /tmp/.[!.]*; cd /tmp; "+c.script); err != nil || out != c.want {
			t.Errorf("%s: %v: %q, want %q", c.name, err, out, c.want)
		}
	}
	// The root is complete: no link of it leads nowhere that leads into a tree or /usr.
	out := m.exec("chroot", filepath.Join(b.path, "rootfs"), "sh", "-c", "find /bin /lib /sbin /usr/bin /usr/sbin /var/sys -xtype l ! -path '*/share/*' ! -path '/usr/lib/*'")
	if out != "" {
		t.Errorf("links lead nowhere:\n%s", out)
	}
}

// TestSystemImageRPMs has programs of real rpms do their work in a container without a shell, with data at a path that is compiled in.
func TestSystemImageRPMs(t *testing.T) {
	m := newImageMaker(t)
	m.write("machine/etc/hashpkg/sources.d/centos.repo", "["+centos+"]\nname=CentOS 7\nbaseurl=file://"+centosRepository(t)+"\ngpgcheck=0\nrepo_gpgcheck=0\n")
	make1 := func(args ...string) imageMade {
		t.Helper()
		return m.made(m.command("cache", append([]string{"--root", "machine", "--from", centos}, args...)...))
	}
	made := make1("bison", "flex", "m4", "-o", "oci:rpms")
	if again := make1("m4", "flex", "bison", "-o", "oci:again"); again.Digest != made.Digest {
		t.Errorf("%s and %s", made.Digest, again.Digest)
	}
	b := m.unpack("rpms:latest", made)
	for name, text := range map[string]string{"x.y": "%token A\n%%\ns: A | s A;\n", "x.l": "%%\na return 1;\n", "x.m4": "define(`f', `eval($1 * 7)')f(6)\n"} {
		if err := os.WriteFile(filepath.Join(b.path, "rootfs", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		made string // what is written
		want string // in it, or printed
	}{
		{[]string{"/usr/bin/m4", "/x.m4"}, "", "42\n"},
		{[]string{"/usr/bin/bison", "--output=/tmp/x.tab.c", "/x.y"}, "tmp/x.tab.c", "yyparse"},
		{[]string{"/usr/bin/flex", "--outfile=/tmp/x.yy.c", "/x.l"}, "tmp/x.yy.c", "yylex"},
	} {
		out, err := b.container(65534, c.args...)
		if err == nil && c.made != "" {
			var text []byte
			text, err = os.ReadFile(filepath.Join(b.path, "rootfs", c.made))
			out += string(text)
		}
		if err != nil || !strings.Contains(out, c.want) {
			t.Errorf("%q: %v: %.1000s", c.args, err, out)
		}
	}
	status, err := filepath.Glob(filepath.Join(b.path, "rootfs/var/lib/dpkg/*"))
	if err != nil || len(status) > 0 {
		t.Errorf("%v, %v", status, err)
	}
}
