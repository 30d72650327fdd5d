//go:build system

package e2e

import (
	"slices"
	"strings"
)

// workCase is one program, or some that belong together, and the work that it does. The
// script runs in a directory of its own, as root, with nothing but the loopback
// interface; what it starts ends with it. Parts of the output that are never the
// same it leaves out itself.
type workCase struct {
	name     string
	packages string // that bring it
	want     string // what the output has, or nothing was done
	needs    string // patterns of files that the work needs: without them the output is another one
	script   string
}

// workCases is the work of a system of Debian.
var workCases = []workCase{
	{"gst-inspect", "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good", `Total count`, `/usr/lib/*/gstreamer-1.0/libgstjpeg.so`, `
export XDG_CACHE_HOME=$HOME GST_REGISTRY_FORK=no
gst-inspect-1.0 2>&1 | tail -n 1
gst-inspect-1.0 coreelements | grep Filename
`},
	{"gst-scanner", "gstreamer1.0-tools", `Total count`, `/usr/lib/*/gstreamer1.0/gstreamer-1.0/gst-plugin-scanner`, `
export XDG_CACHE_HOME=$HOME GST_REGISTRY_FORK=yes
gst-inspect-1.0 >all 2>warnings
cut -d: -f1 all | sort | uniq -c
grep -c 'plugin loader' warnings || true
`},
	{"gst-launch", "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good", `Got EOS`, `/usr/lib/*/gstreamer-1.0/libgstwavenc.so`, `
export XDG_CACHE_HOME=$HOME
gst-launch-1.0 videotestsrc num-buffers=3 ! jpegenc ! filesink location=a.jpg | grep EOS
gst-launch-1.0 audiotestsrc num-buffers=9 ! wavenc ! filesink location=a.wav | grep -c EOS
md5sum a.jpg a.wav
`},
	{"qtdiag5", "qttools5-dev-tools", `offscreen`, `/usr/lib/*/qt5/plugins/platforms/libqoffscreen.so`, `
QT_QPA_PLATFORM=offscreen XDG_RUNTIME_DIR=$HOME /usr/lib/qt5/bin/qtdiag --no-gl --no-vulkan | grep -v -i -e time -e pid | sed 's/0x[0-9a-f]*/ADDRESS/g'
`},
	{"qhelpgenerator", "qttools5-dev-tools libqt5sql5-sqlite", `Documentation successfully generated`, `/usr/lib/*/qt5/plugins/sqldrivers/libqsqlite.so`, `
cat >a.qhp <<'Q'
<?xml version="1.0"?><QtHelpProject version="1.0"><namespace>a.b</namespace><virtualFolder>d</virtualFolder>
<filterSection><toc><section title="t" ref="a.html"/></toc><files><file>a.html</file></files></filterSection></QtHelpProject>
Q
echo '<html><title>t</title>x</html>' >a.html
QT_QPA_PLATFORM=offscreen XDG_RUNTIME_DIR=$HOME /usr/lib/qt5/bin/qhelpgenerator a.qhp -o a.qch
sqlite3 a.qch 'select * from NamespaceTable; select Name from FileNameTable;' 
`},
	{"zenity-x11", "zenity xvfb x11-apps gsfonts fonts-dejavu-core librsvg2-common", `a picture`, `/usr/lib/*/libgtk-*.so.*`, `
Xvfb :7 -screen 0 400x300x24 -nolisten tcp >/dev/null 2>&1 &
x=$!
sleep 2
export DISPLAY=:7 GSK_RENDERER=cairo GDK_BACKEND=x11 GTK_THEME=Adwaita NO_AT_BRIDGE=1 GSETTINGS_BACKEND=memory XDG_RUNTIME_DIR=$HOME
zenity --progress --percentage=42 --no-cancel --text=hello >said 2>&1 &
z=$!
sleep 5
xwd -root -silent | tail -c 400000 >a
kill $z $x
[ "$(tr -d '\000\377' <a | wc -c)" -gt 10000 ] && echo a picture || cat said
`},
	{"gtk-query", "libgtk-3-bin", `im-xim.so`, `/usr/lib/*/gtk-3.0/3.0.0/immodules/im-xim.so`, `
$(ls /usr/lib/x86_64-linux-gnu/libgtk-3-0*/gtk-query-immodules-3.0 | head -n 1) | grep -v '^#'
/usr/lib/x86_64-linux-gnu/gdk-pixbuf-2.0/gdk-pixbuf-query-loaders | grep -v '^#'
`},
	{"gdk-pixbuf", "libgdk-pixbuf2.0-bin librsvg2-common", `PNG image data`, `/usr/lib/*/gdk-pixbuf-2.0/2.10.0/loaders/libpixbufloader*svg.so`, `
echo '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="40"><rect width="30" height="20" fill="red"/></svg>' >a.svg
gdk-pixbuf-thumbnailer -s 32 a.svg a.png
gdk-pixbuf-csource a.svg | md5sum
file a.png
`},
	{"libreoffice", "libreoffice-writer-nogui poppler-utils unzip", `Hello from the writer`, `/usr/lib/libreoffice/program/libswlo.so`, `
echo 'Hello from the writer' >a.txt
soffice --headless --convert-to pdf a.txt >/dev/null 2>&1
pdftotext a.pdf -
soffice --headless --convert-to docx a.txt 2>/dev/null | sed 's/using filter.*//'
unzip -l a.docx | wc -l
`},
	{"imagemagick", "imagemagick", `WEBP`, `/usr/lib/*/ImageMagick-*/modules-*/coders/webp.so`, `
convert -size 60x40 gradient:red-blue a.png
for f in jpg webp tiff gif pdf xpm; do convert a.png a.$f && identify -format '%m %w %h %#\n' a.$f | head -n 1; done
identify -list format | wc -l
identify -list delegate | wc -l
`},
	{"python", "python3 python3-numpy", `[[ 7. 10.]`, `/usr/lib/python3/dist-packages/numpy/linalg/_umath_linalg*.so`, `
python3 - <<'P'
import ssl, sqlite3, ctypes, ctypes.util, numpy, zlib, lzma, bz2, hashlib, curses, readline, json, xml.parsers.expat, decimal, uuid
print(ssl.OPENSSL_VERSION, len(ssl.create_default_context().get_ciphers()))
print(sqlite3.connect(":memory:").execute("select sqlite_version(), sum(1)").fetchall())
print(ctypes.CDLL(ctypes.util.find_library("z")).zlibCompileFlags(), ctypes.CDLL("libcrypto.so.3").OpenSSL_version_num())
print(numpy.dot([[1., 2.], [3., 4.]], [[1., 2.], [3., 4.]]), numpy.linalg.inv([[1., 2.], [3., 4.]]).round(3))
print(hashlib.new("sha3_256", b"x").hexdigest(), sorted(hashlib.algorithms_available))
P
`},
	{"perl", "libxml-libxml-perl libdbd-sqlite3-perl", `perl did it`, `/usr/lib/*/perl5/*/auto/DBD/SQLite/SQLite.so`, `
perl -MXML::LibXML -MDBI -MPOSIX -MDigest::SHA=sha1_hex -MEncode -e '
my $d = XML::LibXML->load_xml(string => "<a><b>perl did it</b></a>"); print $d->findvalue("//b"), "\n";
my $s = DBI->connect("dbi:SQLite:dbname=:memory:"); print $s->selectrow_array("select 6*7"), "\n";
print sha1_hex("x"), " ", length(encode("euc-jp", "\x{3042}")), " ", POSIX::fmod(7, 4), "\n"'
`},
	{"ruby", "ruby", `{"a"=>1}`, `/usr/lib/*/ruby/3*/openssl.so`, `
ruby -ropenssl -rjson -rzlib -rdigest -ryaml -rfiddle -rsocket -e 'puts JSON.parse("{\"a\":1}").inspect.gsub(" => ", "=>"), OpenSSL::Digest.new("SHA256").hexdigest("x"), Zlib.crc32("x"), YAML.load("- 1").inspect, Fiddle.dlopen(nil).class'
`},
	{"lua", "lua5.4 lua-lpeg", `matched 4`, `/usr/lib/*/lua/5.4/lpeg.so`, `
lua5.4 -e 'local l = require "lpeg"; print("matched", l.match(l.P"abc", "abcd"))' | tr '\t' ' '
`},
	{"tcl", "tcl", `tcl 5`, `/usr/share/tcltk/tcl8*/encoding/euc-jp.enc`, `
echo 'puts "tcl [expr 2+3]"; puts [encoding convertto euc-jp \u3042]; puts [clock format 0 -gmt 1]; puts [package require http]' >a.tcl; tclsh a.tcl
`},
	{"php", "php-cli php-sqlite3 php-xml php-gd", `php 42`, `/usr/lib/php/*/gd.so`, `
php -r '$d = new PDO("sqlite::memory:"); echo "php ", $d->query("select 6*7")->fetchColumn(), "\n";
$x = new DOMDocument; $x->loadXML("<a><b>c</b></a>"); echo $x->textContent, "\n";
$i = imagecreatetruecolor(9, 9); ob_start(); imagepng($i); echo md5(ob_get_clean()), "\n"; echo implode(" ", get_loaded_extensions()), "\n";'
`},
	{"nodejs", "nodejs", `node 2`, `/usr/lib/*/libicudata.so.*`, `
node -e 'const c = require("crypto"), z = require("zlib"); console.log("node", 1+1, c.createHash("sha256").update("x").digest("hex"), z.gzipSync("x").length, new Intl.DateTimeFormat("de").format(0)); console.log(c.getCiphers().length)'
`},
	{"r", "r-base-core", `[1] "r did it"`, `/usr/lib/R/modules/lapack.so`, `
R --no-save -q -e 'print("r did it"); print(solve(matrix(c(2,1,1,3),2))); print(capabilities()); library(stats); print(fft(1:4)); print(extSoftVersion()[1:3]); pdf("a.pdf"); plot(1:3); invisible(dev.off())' 2>&1
ls
`},
	{"apache", "apache2 curl", `hello from apache`, `/usr/lib/apache2/modules/mod_lua.so`, `
mkdir www; echo 'hello from apache' >www/index.html; chmod -R 755 .
cat >a.conf <<A
ServerRoot $HOME
PidFile $HOME/pid
Listen 127.0.0.1:8080
ServerName localhost
ErrorLog $HOME/error.log
Define mods /usr/lib/apache2/modules
LoadModule mpm_event_module \${mods}/mod_mpm_event.so
LoadModule authz_core_module \${mods}/mod_authz_core.so
LoadModule deflate_module \${mods}/mod_deflate.so
LoadModule filter_module \${mods}/mod_filter.so
LoadModule ssl_module \${mods}/mod_ssl.so
LoadModule http2_module \${mods}/mod_http2.so
LoadModule rewrite_module \${mods}/mod_rewrite.so
LoadModule lua_module \${mods}/mod_lua.so
LoadModule socache_shmcb_module \${mods}/mod_socache_shmcb.so
AddOutputFilterByType DEFLATE text/html
DocumentRoot $HOME/www
<Directory $HOME/www>
Require all granted
</Directory>
A
apache2 -f $HOME/a.conf -DFOREGROUND >said 2>&1 & p=$!
sleep 3
curl -s --compressed http://127.0.0.1:8080/index.html
apache2 -f $HOME/a.conf -M
kill $p; wait $p || true
grep -v -e notice -e warn error.log | sed 's/\[[^]]*\]//g' | head -n 5
`},
	{"nginx", "nginx libnginx-mod-http-echo curl", `hello from echo`, `/usr/lib/nginx/modules/ngx_http_echo_module.so`, `
cat >a.conf <<N
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_echo_module.so;
pid $HOME/pid;
events {}
http { access_log off; server { listen 127.0.0.1:8081; location / { echo "hello from echo"; } } }
N
[ -e /usr/lib/nginx/modules/ndk_http_module.so ] || sed -i /ndk/d a.conf
nginx -c $HOME/a.conf -e $HOME/log
sleep 1; curl -s http://127.0.0.1:8081/; curl -sI http://127.0.0.1:8081/ | grep Server
nginx -c $HOME/a.conf -e $HOME/log -s quit; sleep 1; grep -c emerg log || true
`},
	{"postgresql", "postgresql", `postgres 0.5`, `/usr/lib/postgresql/*/lib/pg_trgm.so`, `
chmod 777 .; b=$(ls -d /usr/lib/postgresql/*/bin)
echo "export PATH=$b:\$PATH LC_ALL=C; cd $HOME
initdb -D db -A trust >/dev/null
pg_ctl -D db -l log -w -o '-c listen_addresses= -k $HOME' start >/dev/null
psql -h $HOME -At postgres -c 'create extension pg_trgm; create extension hstore; create extension pgcrypto' -c \"select 'postgres ' || round(similarity('word','words')::numeric,1), hstore('a','b')->'a', encode(digest('x','sha256'),'hex'), xpath('/a/text()', '<a>1</a>'::xml)\" -c 'select count(*) from pg_available_extensions' -c \"do \\\$\\\$ begin raise notice 'pl'; end \\\$\\\$\"
pg_ctl -D db -m fast -w stop >/dev/null" >a.sh
su postgres -s /bin/sh a.sh 2>&1 | sed 's/postgres 0.[56]/postgres 0.5/'
`},
	{"sqlite", "sqlite3", `42|`, `/usr/lib/*/libsqlite3.so.0`, `
echo "select json_extract('{\"a\":42}','\$.a')||'|'; create virtual table t using fts5(a); insert into t values('hello world'); select * from t where t match 'world'; pragma compile_options;" | sqlite3 :memory:
`},
	{"mariadb", "mariadb-server", `mariadb 42`, `/usr/lib/mysql/plugin/locales.so`, `
chmod 777 .
mariadb-install-db --datadir=$HOME/db --user=mysql --auth-root-authentication-method=normal >/dev/null 2>&1
mariadbd --datadir=$HOME/db --user=mysql --socket=$HOME/s --skip-networking --pid-file=$HOME/pid >log 2>&1 & p=$!
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do mariadb-admin -S $HOME/s ping >/dev/null 2>&1 && break; sleep 1; done
mariadb -S $HOME/s -N -e "select 'mariadb', 6*7; show plugins; install soname 'locales'; select count(*) from information_schema.locales; select sha2('x',256), uncompress(compress('x'))" | tr '\t' ' '
mariadb-admin -S $HOME/s shutdown; wait $p || true
`},
	{"su", "util-linux login", `uid=65534`, `/usr/lib/*/security/pam_rootok.so`, `
su -s /bin/sh nobody -c 'id | cut -d"(" -f1; ulimit -n >/dev/null'
setpriv --reuid=65534 --clear-groups su -s /bin/sh nobody -c true 2>&1 || echo refused
runuser -u nobody -- id -un
`},
	{"sudo", "sudo", `sudo as nobody`, `/usr/libexec/sudo/sudoers.so`, `
echo 'nobody ALL=(root) NOPASSWD: /usr/bin/id' >/etc/sudoers.d/work; chmod 440 /etc/sudoers.d/work
sudo -n -u nobody sh -c 'echo sudo as $(id -un)' 2>&1 | grep -v resolve
setpriv --reuid=65534 --regid=65534 --clear-groups sudo -n /usr/bin/id -u 2>&1 | grep -v resolve
sudo -l -U nobody 2>&1 | grep -v resolve | tail -n 1
`},
	{"nss", "libnss-systemd libnss-myhostname", `127.0.0.1`, `/usr/lib/*/libnss_myhostname.so.2`, `
printf 'passwd: files systemd\ngroup: files systemd\nhosts: files myhostname dns\n' >n
mount --bind n /etc/nsswitch.conf
getent hosts foo.localhost; getent ahosts localhost.localdomain; getent passwd nobody; getent group nogroup
`},
	{"openssl", "openssl", `name: OpenSSL Legacy Provider`, `/usr/lib/*/ossl-modules/legacy.so`, `
openssl list -providers -provider legacy -provider default
echo x | openssl dgst -provider legacy -provider default -md4
openssl req -x509 -newkey rsa:2048 -nodes -keyout k -out c -days 1 -subj /CN=x 2>/dev/null; openssl verify -CAfile c c
openssl list -cipher-algorithms -provider legacy -provider default | wc -l
openssl engine -t 2>&1 | head -n 3
`},
	{"curl-https", "curl openssl", `TLSv1.3`, `/usr/lib/*/libssl.so.3`, `
openssl req -x509 -newkey rsa:2048 -nodes -keyout k -out c -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null
openssl s_server -accept 4433 -key k -cert c -www -quiet >/dev/null 2>&1 & p=$!
sleep 1; curl -s --cacert c https://localhost:4433/ | grep -m1 -o TLSv1.3; curl -V; kill $p
`},
	{"gnutls", "gnutls-bin p11-kit p11-kit-modules", `Handshake was completed`, `/usr/lib/*/pkcs11/p11-kit-trust.so`, `
certtool --generate-privkey --ecc --outfile k >/dev/null 2>&1
printf 'cn = localhost\ntls_www_server\ndns_name = localhost\nca\ncert_signing_key\n' >t; certtool --generate-self-signed --load-privkey k --template t --outfile c >/dev/null 2>&1
gnutls-serv -q -p 5556 --x509keyfile k --x509certfile c >/dev/null 2>&1 & p=$!
sleep 1; echo | gnutls-cli -p 5556 --x509cafile c localhost 2>&1 | grep -e 'Handshake was' -e 'Status:' ; kill $p; gnutls-cli --list | wc -l; p11-kit list-modules 2>&1 | head -n 3
`},
	{"iconv", "libc-bin", `e38182`, `/usr/lib/*/gconv/EUC-JP.so`, `
printf '\244\242' | iconv -f EUC-JP -t UTF-8 | od -An -tx1 | tr -d ' '
printf '\xe4\xbd\xa0' | iconv -f UTF-8 -t BIG5 | od -An -tx1; iconv -l | wc -l
`},
	{"cups", "cups cups-client cups-filters", `lp scheduled`, `/usr/lib/cups/daemon/cups-driverd`, `
mkdir -m 755 etc spool cache state; chmod 755 .
cat >etc/cupsd.conf <<C
Listen $HOME/sock
LogLevel warn
<Location />
Order allow,deny
Allow all
</Location>
<Policy default>
<Limit All>
Order deny,allow
</Limit>
</Policy>
C
cat >etc/cups-files.conf <<C
FileDevice yes
ServerRoot $HOME/etc
RequestRoot $HOME/spool
CacheDir $HOME/cache
StateDir $HOME/state
AccessLog $HOME/access
ErrorLog $HOME/error
PageLog $HOME/page
C
cupsd -f -c $HOME/etc/cupsd.conf -s $HOME/etc/cups-files.conf & p=$!
sleep 3; export CUPS_SERVER=$HOME/sock
lpadmin -p q -E -v file:/dev/null 2>&1 | grep -v deprecated || true
echo hello | lp -d q | sed 's/.*request id is q-[0-9]* .*/lp scheduled/'; sleep 1; lpstat -t | sed 's/ since.*//' | grep -v "^q-" ; lpinfo -m | wc -l
kill $p; wait $p || true
`},
	{"cups-filters", "cups cups-filters", `%PDF`, `/usr/lib/cups/filter/texttopdf /usr/lib/cups/filter/universal`, `
printf '*%s\n' 'PPD-Adobe: "4.3"' 'FormatVersion: "4.3"' 'FileVersion: "1"' 'LanguageVersion: English' 'LanguageEncoding: ISOLatin1' 'PCFileName: "A.PPD"' 'Product: "(A)"' 'Manufacturer: "A"' 'ModelName: "A"' 'ShortNickName: "A"' 'NickName: "A"' 'PSVersion: "(3010.000) 0"' 'OpenUI *PageSize: PickOne' 'DefaultPageSize: A4' 'PageSize A4: ""' 'CloseUI: *PageSize' 'OpenUI *PageRegion: PickOne' 'DefaultPageRegion: A4' 'PageRegion A4: ""' 'CloseUI: *PageRegion' 'DefaultImageableArea: A4' 'ImageableArea A4: "18 36 577 806"' 'DefaultPaperDimension: A4' 'PaperDimension A4: "595 842"' >a.ppd
echo hello >a.txt; cupsfilter -p a.ppd -m application/pdf a.txt 2>/dev/null | head -c 4; echo
cupsfilter -p a.ppd -m application/pdf -i text/plain a.txt 2>&1 >/dev/null | grep -e 'exited' | sed 's/PID [0-9]*/PID/' | sort
`},
	{"java", "default-jre-headless", `Alias name: a`, `/usr/lib/jvm/java-*/lib/libnio.so`, `
keytool -genkeypair -alias a -keyalg RSA -dname CN=x -storepass secret -keystore k >/dev/null 2>&1; keytool -list -v -keystore k -storepass secret 2>/dev/null | grep -e Alias -e 'Entry type'
java -XshowSettings:properties -version 2>&1 | grep -v -e pid -e tmpdir -e java.vm.info -e user.dir
`},
	{"ffmpeg", "ffmpeg", `Stream #0:0: Video: h264`, `/usr/lib/*/libx264.so.*`, `
ffmpeg -v error -f lavfi -i testsrc=d=0.2:s=64x48 -f lavfi -i sine=d=0.2 -c:v libx264 -threads 1 -c:a aac a.mp4; ffprobe a.mp4 2>&1 | grep Stream | sed -e 's/\[0x[0-9]*\]//' -e 's/(und)//g' -e 's/, [0-9]* kb.*//'
ffmpeg -v error -i a.mp4 -f md5 - ; for l in encoders filters formats protocols; do ffmpeg -hide_banner -$l | wc -l; done
`},
	{"sox", "sox libsox-fmt-all", `Sample Encoding: Vorbis`, `/usr/lib/*/sox/libsox_fmt_vorbis.so`, `
sox -n a.ogg synth 0.1 sine 440 2>/dev/null; soxi a.ogg | grep -v -e Size -e Comment -e Rate; sox a.ogg a.mp3 && soxi -t a.mp3; sox --help | grep 'AUDIO FILE FORMATS' | wc -w
`},
	{"graphviz", "graphviz", `PNG image data`, `/usr/lib/*/graphviz/libgvplugin_pango.so*`, `
echo 'digraph { a -> b -> c; a -> c }' >a.dot; for e in dot neato fdp circo; do $e -Tplain a.dot; done; dot -Tpng a.dot >a.png; dot -Tpdf a.dot | head -c 5; file a.png; dot -P -o p.txt 2>/dev/null || true; dot -v a.dot -Tsvg 2>&1 >/dev/null | grep -e loaded -e render -e plugin | sed 's/[0-9.]* sec.*//' | sort | uniq | head -n 40
`},
	{"gnuplot", "gnuplot-nox", `PNG image data`, `/usr/lib/*/libcairo.so.2`, `
echo 'set terminal pngcairo; set output "a.png"; plot sin(x); set terminal pdfcairo; set output "a.pdf"; replot; set terminal dumb; set output; plot x' | gnuplot; file a.png; head -c 5 a.pdf
`},
	{"ghostscript", "ghostscript gsfonts poppler-utils", `hello from postscript`, `/usr/lib/*/libgs.so.*`, `
echo '/Helvetica findfont 20 scalefont setfont 50 50 moveto (hello from postscript) show showpage' >a.ps; gs -q -dBATCH -dNOPAUSE -sDEVICE=pdfwrite -o a.pdf a.ps; gs -q -o - -sDEVICE=txtwrite a.pdf; gs -q -o a.png -sDEVICE=png16m -r30 a.ps; md5sum a.png; pdffonts a.pdf | sed 's/[A-Z]*+//'; gs -h | wc -l
`},
	{"poppler", "poppler-utils ghostscript gsfonts", `hello in a pdf`, `/usr/lib/*/libpoppler.so.*`, `
echo '/Times-Roman findfont 20 scalefont setfont 50 50 moveto (hello in a pdf) show showpage' | ps2pdf - a.pdf; pdftotext a.pdf -; pdftoppm -r 30 a.pdf a; md5sum a-*.ppm; pdftocairo -svg a.pdf b.svg; grep -c path b.svg; pdfinfo a.pdf | grep Pages
`},
	{"rsvg", "librsvg2-bin file fonts-dejavu-core", `PNG image data, 60 x 40`, `/usr/share/fonts`, `
echo '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="40"><rect width="30" height="20" fill="red"/><text x="5" y="30">x</text></svg>' >a.svg; rsvg-convert a.svg >a.png; file a.png; md5sum a.png; rsvg-convert -f pdf a.svg >a.pdf; head -c 5 a.pdf
`},
	{"vim", "vim vim-runtime", `edited by vim`, `/usr/share/vim/vim9*/doc`, `
echo 'a line' >a.txt; vim -es -u NONE -c '%s/.*/edited by vim/' -c wq a.txt; cat a.txt; vim -es -u NONE -c 'set nocp' -c 'help usr_01' -c 'w! h.txt' -c q! -c q!; grep -c . h.txt; vim -es -u NONE -c 'redir > f' -c 'version' -c q; grep -c . f
`},
	{"emacs", "emacs-nox", `emacs 42`, `/usr/share/emacs/*/lisp/org`, `
emacs -Q --batch --eval '(progn (message "emacs %d %s %s" (* 6 7) (libxml-available-p) (gnutls-available-p)) (require (quote org)) (princ (json-parse-string "[1]")) (princ (secure-hash (quote sha256) "x")))' 2>&1
`},
	{"git", "git", `1 file changed`, `/usr/lib/git-core/git-remote-https`, `
export GIT_AUTHOR_DATE='1 Jan 2020 00:00:00 +0000' GIT_COMMITTER_DATE='1 Jan 2020 00:00:00 +0000'; git init -q a 2>/dev/null; cd a; git config user.email a@b; git config user.name x; echo x >f; git add f; git commit -m first; git gc -q; git fsck; git log --stat; cd ..; git clone -q a b; ls b; git --exec-path; git ls-remote https://localhost:1/ 2>&1 | sed 's/after [0-9]* ms//'
`},
	{"gdb", "gdb gcc libc6-dev", `Breakpoint 1, f (a=41)`, `/usr/share/gdb/python`, `
printf 'int f(int a) { return a + 1; }\nint main(void) { return f(41); }\n' >a.c; gcc -g -o a a.c; gdb -nx -batch -ex 'break f' -ex run -ex bt -ex 'print a+1' -ex 'python print(sum([1,2]))' -ex cont ./a 2>&1 | grep -v -e warning -e debuginfod -e '^$' | sed 's/process [0-9]*/process N/'
gdb -nx -batch -ex "break puts" -ex run -ex bt -ex "info auto-load python-scripts" --args /usr/bin/apt-config dump 2>&1 | grep -e Traceback -e Error -e auto-load || true
`},
	{"gcc", "gcc g++ libc6-dev", `compiled 42`, `/usr/lib*/gcc/*/*/lto1`, `
printf '#include <stdio.h>\n#include <math.h>\nint main(int c, char **v) { printf("compiled %%d %%.2f\\n", 41 + c, sqrt(c+1)); return 0; }\n' >a.c; gcc -O2 -flto -o a a.c -lm; ./a; gcc -print-search-dirs; gcc -print-prog-name=cc1; ar t "$(gcc -print-libgcc-file-name)" | wc -l; as --version | head -n 1; printf '#include <iostream>\nint main() { std::cout << "c++\\n"; }\n' >b.cc; g++ -o b b.cc && ./b
`},
	{"man", "man-db", `a page`, `/usr/lib/man-db/libmandb-*.so /usr/lib/*/man-db/libmandb-*.so`, `
mkdir -p man/man1; printf '.TH X 1\n.SH NAME\nx \\- a page\n' >man/man1/x.1; gzip man/man1/x.1; man -l man/man1/x.1.gz | grep 'a page'; mandb -q -c man >/dev/null 2>&1; man -M $PWD/man -k page; man -M $PWD/man -w x
`},
	{"groff", "groff ghostscript", `set by groff`, `/usr/share/groff/*/font/devpdf`, `
printf '.TS\nl l.\na\tset by groff\n.TE\n.EQ\nx over y\n.EN\n' >a; groff -t -e -ms -Tutf8 a | grep -v '^$'; groff -t -e -ms -Tps a | grep -c .; groff -ms -Tpdf a 2>/dev/null | head -c 5
`},
	{"systemd", "systemd", `Normalized form: Mon 2020-01-06 10:00:00 UTC`, `/usr/lib/*/systemd/libsystemd-shared-*.so`, `
systemd-analyze calendar 'Mon 2020-01-06 10:00:00 UTC' --base-time=2020-01-01 | grep Normalized; systemd-analyze timespan 5min; mkdir u; printf '[Service]\nExecStart=/bin/true\n' >u/work.service; systemd-analyze verify --man=no u/work.service 2>&1 | head -n 5; systemd-analyze --root=/ cat-config systemd/journald.conf | wc -l; systemd-escape /a/b; systemd-id128 invocation-id 2>&1 | head -n 1; systemd-tmpfiles --cat-config | wc -l; systemctl --root=/ list-unit-files 2>/dev/null | wc -l
`},
	{"journal", "systemd systemd-journal-remote", `hello journal`, `/usr/lib/*/systemd/libsystemd-shared-*.so`, `
printf '__REALTIME_TIMESTAMP=1404101101501874\n__MONOTONIC_TIMESTAMP=1753961140951\n_BOOT_ID=fdfcd16c2b2b4b4c8b0fd2ba6e4c8c4c\n_MACHINE_ID=fdfcd16c2b2b4b4c8b0fd2ba6e4c8c4d\nMESSAGE=hello journal\nPRIORITY=6\n\n' | /usr/lib/systemd/systemd-journal-remote -o $PWD/a.journal - 2>&1 | sed 's/.*Finishing.*//'; journalctl --utc --file a.journal -o short-iso; journalctl --file a.journal --verify 2>&1 | grep -c PASS; journalctl --file a.journal -o json | jq -r .MESSAGE
`},
	{"ssh", "openssh-server openssh-client", `hello over ssh`, `/usr/lib/*/security/pam_unix.so`, `
chmod 755 .; mkdir -p /run/sshd; ssh-keygen -q -t ed25519 -N '' -f h; ssh-keygen -q -t rsa -N '' -f k; cp k.pub ak; mkdir -p -m 700 /root/.ssh
/usr/sbin/sshd -p 2222 -h $PWD/h -o AuthorizedKeysFile=$PWD/ak -o StrictModes=no -o PermitRootLogin=yes -o PidFile=$PWD/pid -o ListenAddress=127.0.0.1 -f /dev/null -o UsePAM=yes -o 'Subsystem=sftp /usr/lib/openssh/sftp-server' 2>&1
sleep 1; o="-i k -o StrictHostKeyChecking=no -o UserKnownHostsFile=$PWD/kn -o LogLevel=ERROR"; ssh -p 2222 $o root@127.0.0.1 'echo hello over ssh; id -u'; echo 'get /etc/hostname x' | sftp -P 2222 $o -b - root@127.0.0.1 2>&1 | tail -n 1; scp -P 2222 $o root@127.0.0.1:/etc/passwd p && wc -l <p; ssh -Q cipher | wc -l; kill $(cat pid)
`},
	{"rsync", "rsync", `total size`, `/usr/lib/*/libxxhash.so.0`, `
mkdir a; echo x >a/f; ln a/f a/g; setfattr -n user.a -v b a/f 2>/dev/null || true; rsync -aHAXz --stats a/ b | grep -e 'total size' -e 'Number of files'; rsync --version | grep -A4 list:; ls b
`},
	{"tar", "tar xz-utils zstd", `./f`, `/usr/lib/*/liblzma.so.5`, `
mkdir a; echo x >a/f; for z in xz zstd gzip; do tar -C a --$z -cf a.$z . && tar -tf a.$z; done; xz -l a.xz | wc -l; tar --acls --xattrs --selinux -C a -cf - . | tar -t
`},
	{"jq", "jq", `[2,4]`, `/usr/lib/*/libonig.so.5`, `
echo '[1,2]' | jq -c 'map(.*2)'; echo '"aXb"' | jq 'ascii_downcase | test("x")'; jq -n '@base64 "\(1)", (0|todate)'
`},
	{"xml", "libxml2-utils xsltproc", `>xslt 1</r>`, `/usr/lib/*/libexslt.so.0`, `
echo '<a><b>1</b></a>' >a.xml; echo '<x:stylesheet version="1.0" xmlns:x="http://www.w3.org/1999/XSL/Transform" xmlns:d="http://exslt.org/dates-and-times"><x:output omit-xml-declaration="yes"/><x:template match="/"><r>xslt <x:value-of select="//b"/></r></x:template></x:stylesheet>' >a.xsl; xsltproc a.xsl a.xml; xmllint --xpath '//b/text()' a.xml; echo; xsltproc -V; xsltproc --dumpextensions | wc -l; printf '<!ELEMENT a (b)><!ELEMENT b (#PCDATA)>' >a.dtd; xmllint --noout --dtdvalid a.dtd a.xml && echo valid
`},
	{"spell", "aspell aspell-en hunspell hunspell-en-us", `& helo`, `/var/lib/aspell`, `
echo helo world | aspell -a -l en_US | cut -c 1-60; echo helo world | hunspell -a -d en_US 2>&1; aspell dicts | wc -l; aspell dump filters 2>&1 | wc -l
`},
	{"samba", "smbclient samba-common-bin", `Loaded services file OK`, `/usr/lib/*/samba`, `
mkdir -p /run/samba; printf '[global]\nworkgroup = W\n[a]\npath = /tmp\n' >s.conf; testparm -s s.conf 2>&1 | grep -v -e rlimit; smbclient -s s.conf -N -L 127.0.0.1 2>&1 | tail -n 2; smbclient -V; rpcclient -s s.conf -N -c help -U% ncacn_np:127.0.0.1 2>&1 | tail -n 1; net -s s.conf getlocalsid 2>&1 | sed 's/S-1.*//' | head -n 1
`},
	{"sasl", "sasl2-bin libsasl2-modules libsasl2-modules-db", `u@x: userPassword`, `/usr/lib/*/sasl2/libsasldb.so*`, `
echo secret | saslpasswd2 -p -f $PWD/db -u x u; sasldblistusers2 -f $PWD/db; saslpluginviewer 2>&1 | grep -v -i 'version' | head -n 60
`},
	{"krb5", "krb5-user", `Cannot find KDC`, `/usr/lib/*/libkrb5.so.3`, `
printf '[libdefaults]\ndefault_realm = X.INVALID\ndns_lookup_kdc = false\n' >k; KRB5_CONFIG=$PWD/k kinit -V nobody </dev/null 2>&1 | head -n 3 || true; printf 'addent -password -p a@X -k 1 -e aes256-cts\nsecret\nwkt kt\nq\n' | ktutil 2>&1 | head -n 3; klist -k kt; klist 2>&1 | sed 's/krb5cc_.*/cc/' || true
`},
	{"tcpdump", "tcpdump", `IP 127.0.0.1.5000 > 127.0.0.1.5001: UDP`, `/usr/lib/*/libpcap.so.0.8`, `
printf '\324\303\262\241\2\0\4\0\0\0\0\0\0\0\0\0\0\0\4\0\145\0\0\0\1\0\0\0\0\0\0\0\36\0\0\0\36\0\0\0E\0\0\36\0\1\0\0@\21\0\0\177\0\0\1\177\0\0\1\23\210\23\211\0\12\0\0hi' >a.pcap; tcpdump -Z root -nn -r a.pcap 2>&1 | sed 's/^[0-9:.]* IP/IP/'; tcpdump -d 'tcp port 80' 2>&1 | wc -l; tcpdump --version 2>&1
`},
	{"nmap", "nmap", `80/tcp closed http`, `/usr/share/nmap/scripts`, `
nmap -n -Pn -p 80,81 127.0.0.1 2>&1 | grep tcp; nmap -n -Pn -p 80 --script=banner,http-title 127.0.0.1 2>&1 | grep tcp; nmap --version | tail -n 4
`},
	{"dbus", "dbus libglib2.0-bin", `org.freedesktop.DBus`, `/usr/lib/*/libdbus-1.so.3`, `
dbus-run-session -- sh -c 'dbus-send --session --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.ListNames | grep string | grep -v ":1\."; gdbus call --session -d org.freedesktop.DBus -o / -m org.freedesktop.DBus.GetId | wc -c' 2>/dev/null
`},
	{"gio", "libglib2.0-bin dconf-gsettings-backend libgtk-3-common", `filename-entry`, `/usr/lib/*/gio/modules/libdconfsettings.so`, `
echo hello >a; gio info a | grep -e type -e size | sort | head -n 8; gio cat a; gsettings list-schemas | sort | wc -l; dbus-run-session -- sh -c 'gsettings set org.gtk.Settings.FileChooser location-mode filename-entry; gsettings get org.gtk.Settings.FileChooser location-mode' 2>/dev/null; gio mime text/plain | head -n 3; ls .config/dconf
`},
	{"gawk", "gawk", `gawk 3`, `/usr/lib/*/gawk/filefuncs.so`, `
gawk -l filefuncs -l rwarray -l time 'BEGIN { print "gawk " 1+2; print stat("/etc/passwd", s), s["type"]; print (gettimeofday() > 0) }'; gawk -M 'BEGIN { print 2^100 }' 
`},
	{"file", "file", `ELF 64-bit`, `/usr/lib/file/magic.mgc`, `
file -b /usr/bin/true | cut -d, -f1-3; file -b --mime /etc/passwd /usr/share/file; echo '%PDF-1.4' >a; file a
`},
	{"gpg", "gpg gpg-agent", `Good signature`, `/usr/bin/gpg-agent`, `
mkdir -m 700 g; export GNUPGHOME=$PWD/g; gpg --batch --quiet --passphrase '' --quick-gen-key a@b ed25519 sign 2>/dev/null; echo x >f; gpg --batch --quiet -o f.sig --detach-sign f 2>/dev/null; gpg --verify f.sig f 2>&1 | grep -o 'Good signature from.*'; gpg --version; gpgconf --list-components; gpgconf --kill all
`},
	{"redis", "redis-server", `bar`, `/usr/lib/*/libjemalloc.so.2`, `
chmod 777 .; redis-server --port 0 --unixsocket $PWD/s --save '' --logfile $PWD/log --dir $PWD & p=$!; sleep 1; redis-cli -s s set foo bar; redis-cli -s s get foo; redis-cli -s s eval 'return cjson.encode({1,2})' 0; redis-cli -s s shutdown nosave || true; wait $p || true
`},
	{"cmake", "cmake gcc make libc6-dev", `Built target a`, `/usr/share/cmake-*/Modules/FindThreads.cmake`, `
printf 'cmake_minimum_required(VERSION 3.10)\nproject(a C)\nadd_executable(a a.c)\nfind_package(Threads)\n' >CMakeLists.txt; echo 'int main(void) { return 0; }' >a.c; cmake -B b . >log 2>&1; grep -v -e done log; cmake --build b | tail -n 1
`},
	{"zsh", "zsh", `zsh 2`, `/usr/lib/*/zsh/*/zsh/pcre.so`, `
zsh -fc 'zmodload zsh/mathfunc zsh/pcre zsh/datetime zsh/zftp zsh/stat zsh/regex; print zsh $(( int(sqrt(4)) )); zmodload; [[ abc =~ b ]] && print re; autoload -Uz compinit; print -l $module_path'
`},
	{"pango", "pango1.0-tools fonts-dejavu-core", `PNG image data`, `/usr/share/fonts`, `
pango-view --no-display -q -t 'hello' --font='DejaVu Sans 12' -o a.png; file a.png; md5sum a.png; pango-list | wc -l; fc-list | sort | wc -l; fc-match -v sans | grep -e file -e family
`},
	{"vips", "libvips-tools", `vips 64x48`, `/usr/lib/*/vips-modules-*`, `
vips black a.png 64 48; echo vips $(vipsheader -f width a.png)x$(vipsheader -f height a.png); vips list classes 2>/dev/null | wc -l; vips copy a.png a.jpg && file a.jpg; vips invert a.png b.webp 2>&1; vips --vips-config 2>/dev/null | head -n 40
`},
	{"gegl", "gegl", `PNG image data`, `/usr/lib/*/gegl-0.4`, `
GEGL_USE_OPENCL=no gegl -o a.png -- gegl:checkerboard x=8 gegl:crop width=60 height=40 2>&1 | grep -v -i warn || true; file a.png; gegl --list-all 2>/dev/null | sort | wc -l
`},
	{"espeak", "espeak-ng", `WAVE audio`, `/usr/lib/*/espeak-ng-data`, `
espeak-ng -w a.wav hello; file a.wav; espeak-ng -q -x hello; espeak-ng --voices | wc -l
`},
	{"guile", "guile-3.0", `guile 42`, `/usr/lib/*/guile/3.0/ccache/srfi /usr/share/guile/3.0/srfi`, `
guile --no-auto-compile -c '(use-modules (ice-9 regex) (srfi srfi-1) (rnrs bytevectors)) (display "guile ") (display (* 6 7)) (newline) (display (fold + 0 (list 1 2 3))) (display (dynamic-link))' 2>&1 | sed 's/0x[0-9a-f]*//; s/#<.*>//'
`},
	{"slapd", "slapd ldap-utils", `dn: dc=x`, `/usr/lib/ldap/memberof*`, `
mkdir db; printf 'include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload memberof\nmoduleload ppolicy\ndatabase mdb\nsuffix dc=x\nrootdn cn=a,dc=x\nrootpw s\ndirectory %s\n' $PWD/db >s.conf; printf 'dn: dc=x\nobjectClass: dcObject\nobjectClass: organization\no: x\ndc: x\n' >a.ldif; slapadd -f s.conf -l a.ldif 2>&1 | grep -v -e '%$' -e Closing | head -n 2; slapd -f s.conf -h ldap://127.0.0.1:3890 -d 0 >/dev/null 2>&1 & p=$!; sleep 2; ldapsearch -x -LLL -H ldap://127.0.0.1:3890 -b dc=x; ldapwhoami -x -H ldap://127.0.0.1:3890 -D cn=a,dc=x -w s; kill $p; wait $p || true
`},
	{"vlc", "vlc-bin vlc-plugin-base", `flac`, `/usr/lib/*/vlc/plugins/codec`, `
chmod 777 .; setpriv --reuid=65534 --regid=65534 --clear-groups cvlc --no-plugins-cache --list 2>/dev/null | sort; setpriv --reuid=65534 --regid=65534 --clear-groups cvlc --list 2>/dev/null | wc -l
`},
	{"odbc", "unixodbc libsqliteodbc", `42`, `/usr/lib/*/odbc/libsqlite3odbc.so`, `
lib=$(ls /usr/lib/x86_64-linux-gnu/odbc/libsqlite3odbc.so); printf '[x]\nDriver=%s\nDatabase=%s\n' $lib $PWD/a.db >odbc.ini; echo 'select 6*7' | ODBCINI=$PWD/odbc.ini isql -b x; odbcinst -j | head -n 3
`},
	{"locale", "locales libc-bin", `Donnerstag`, `/usr/share/i18n/locales/de_DE`, `
localedef -i de_DE -f UTF-8 ./de_DE.utf8 && ls de_DE.utf8; LOCPATH=$PWD LC_ALL=de_DE.utf8 date -u -d @0 +%A; LOCPATH=$PWD LC_ALL=de_DE.utf8 perl -e 'use POSIX; setlocale(LC_ALL, ""); print strftime("%B\n", gmtime(0))'
`},
	{"dns", "bind9 bind9-dnsutils", `127.0.0.9`, `/usr/lib/*/libns-*.so`, `
chmod 755 .
printf 'options { directory "%s"; listen-on port 5353 { 127.0.0.1; }; listen-on-v6 { none; }; pid-file "pid"; session-keyfile "key"; recursion no; dnssec-validation no; };\nzone "x" { type primary; file "z"; };\n' $PWD >n.conf
printf '$TTL 60\n@ IN SOA a.x. b.x. 1 60 60 60 60\n IN NS a.x.\na IN A 127.0.0.9\n' >z
named-checkzone x z
named -f -c $PWD/n.conf -n 1 >said 2>&1 & p=$!
sleep 2; dig +short -p 5353 @127.0.0.1 a.x; dig -p 5353 @127.0.0.1 b.x | grep status: | sed 's/id:.*//'
kill $p; wait $p || true
`},
	{"pam", "libpam-modules login", `chpasswd works`, `/usr/lib/*/security/pam_unix.so`, `
echo 'daemon:secret' | chpasswd && echo chpasswd works; getent shadow daemon | cut -c 1-10; passwd -S daemon | cut -d' ' -f1-2; chage -l daemon | tail -n 1; usermod -p '*' daemon; ls /usr/lib/x86_64-linux-gnu/security | wc -l
`},
}

// rpmWorkCases is the work of the root that rpm has installed: what needs nothing that the
// scripts of Debian's packages make, and what rpm's root has of its own.
var rpmWorkCases = append(named("file gawk gpg gst-scanner iconv jq lua rsync sqlite tar tcl xml zsh"), []workCase{
	{"bash", "bash", `bash 3`, "/usr/lib/*/libtinfo.so.6", `bash -c 'echo bash $((1+2)); [[ ab =~ b ]] && printf "%(%Y)T\n" 0'`},
	{"coreutils", "coreutils", `b026324c6904b2a9cb4b88d6d61c81d1`, "/usr/lib/*/libgmp.so.10", `echo 1 | md5sum; echo 1 | sha256sum; expr 2 \^ 1 || true; factor 12345678901234567891; sort -R /dev/null; date -u -d @0; stat -c %a /etc/passwd; ls -lZ /etc/passwd | wc -l`},
	{"curl", "curl", `root:x:0:0`, "/usr/lib/*/libnghttp2.so.14", `curl -s file:///etc/passwd | head -n 1; curl -V; curl -s http://127.0.0.1:1/ || echo refused`},
	{"find", "findutils libselinux1", `./a/f`, "/usr/lib/*/libselinux.so.1", `mkdir a; echo x >a/f; find . -name f; find . -type f -print0 | xargs -0 cat`},
	{"grep", "grep", `12`, "/usr/lib/*/libpcre2-8.so.0", `echo a12 | grep -oP "\d+"; echo aXb | grep -c -i x`},
	{"make", "make", `made`, "/usr/bin/make", `printf "a:\n\t@echo made\n" >Makefile; make; make -p -n | grep -c SUFFIXES`},
	{"nss", "libnss-myhostname", `127.0.0.1`, "/usr/lib/*/libnss_myhostname.so.2", `
printf 'hosts: files myhostname\n' >/etc/nsswitch.conf
getent ahosts foo.localhost
`},
	{"perl", "perl-base", `perl 1.41`, "/usr/lib/*/perl-base/auto/Socket/Socket.so /usr/lib/*/perl/5*/auto/Socket/Socket.so", `perl -MPOSIX=floor -MSocket -MList::Util=sum -MIO::Socket -e 'printf "perl %.2f %d %s\n", sqrt 2, sum(1, 2), inet_ntoa(inet_aton("127.0.0.1"))'`},
	{"ping", "iputils-ping", `1 received`, "/usr/lib/*/libcap.so.2", `ping -c 1 -n 127.0.0.1 | grep received | sed 's/time.*//'`},
	{"python", "python3", `python 42`, "/usr/lib/*/ossl-modules/legacy.so", `
printf 'openssl_conf = o\n[o]\nproviders = p\n[p]\ndefault = a\nlegacy = a\n[a]\nactivate = 1\n' >o.conf
OPENSSL_CONF=$PWD/o.conf python3 - <<'P'
import ssl, sqlite3, ctypes, zlib, lzma, bz2, hashlib, curses, readline, json, xml.parsers.expat, decimal, uuid
print(hashlib.new("md4", b"x").hexdigest(), len(ssl.create_default_context().get_ciphers()))
print("python", sqlite3.connect(":memory:").execute("select 6*7").fetchone()[0], zlib.decompress(zlib.compress(b"x")), lzma.decompress(lzma.compress(b"y")))
print(ctypes.CDLL("libz.so.1").zlibCompileFlags(), sorted(hashlib.algorithms_available))
P
`},
	{"sed", "sed", `b`, "/usr/lib/*/libacl.so.1", `echo a | sed -E s/a/b/; echo x >f; sed -i --follow-symlinks s/x/y/ f; cat f`},
}...)

// named returns the cases of a system of Debian with these names.
func named(names string) []workCase {
	var cases []workCase
	for _, name := range strings.Fields(names) {
		i := slices.IndexFunc(workCases, func(c workCase) bool { return c.name == name })
		cases = append(cases, workCases[i])
	}
	return cases
}
