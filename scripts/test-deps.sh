#!/bin/sh
# Installs the programs that the tests run, as far as they are missing: with
# apt-get when root. Otherwise it says which command would, and fails. With the
# argument "system" also those of `make test-system`.
set -eu

# What is looked for (a program in PATH, or a file), and the package of Debian
# that brings it.
needs='
aarch64-linux-gnu-gcc   gcc-aarch64-linux-gnu
ansible-playbook        ansible-core
apt-ftparchive          apt-utils
apt-get                 apt
bzip2                   bzip2
chromium                chromium
cpio                    cpio
createrepo_c            createrepo-c
dash                    dash
debugfs                 e2fsprogs
desktop-file-validate   desktop-file-utils
dh                      debhelper
dnf                     dnf
dpkg-deb                dpkg
dpkg-buildpackage       dpkg-dev
dpkg-scanpackages       dpkg-dev
dpkg-shlibdeps          dpkg-dev
dumpsolv                libsolv-tools
eu-elflint              elfutils
fakeroot                fakeroot
find-debuginfo          debugedit
fish                    fish
fsck.erofs              erofs-utils
fsverity                fsverity
fuse2fs                 fuse2fs
gcc                     gcc
i686-linux-gnu-gcc      gcc-i686-linux-gnu
gio                     libglib2.0-bin
gpg                     gnupg
gpgconf                 gnupg
gpgv                    gpgv
ia64-linux-gnu-as       binutils-ia64-linux-gnu
ldconfig                libc-bin
ld.lld                  lld
lintian                 lintian
lz4                     lz4
make                    make
man                     man-db
mandoc                  mandoc
mkfs.btrfs              btrfs-progs
mkfs.ext4               e2fsprogs
mkfs.xfs                xfsprogs
mmdebstrap              mmdebstrap
less                    less
musl-gcc                musl-tools
objcopy                 binutils
patchelf                patchelf
promtool                prometheus
perl                    perl-base
qemu-aarch64-static     qemu-user-static
qemu-i386-static        qemu-user-static
readelf                 binutils
rpm                     rpm
rpm2cpio                rpm
rpmbuild                rpm
rpmlint                 rpmlint
rpmmd2solv              libsolv-tools
rpmsign                 rpm
setcap                  libcap2-bin
setfattr                attr
strace                  strace
testsolv                libsolv-tools
tmux                    tmux
unshare                 util-linux
xz                      xz-utils
zsh                     zsh
zstd                    zstd
/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator  systemd
/usr/share/bash-completion/bash_completion  bash-completion
/lib/ld-musl-x86_64.so.1  musl
/usr/aarch64-linux-gnu/lib/crti.o  libc6-dev-arm64-cross
/usr/include/stdlib.h   libc6-dev
/usr/include/x86_64-linux-musl/stdlib.h  musl-dev
/usr/share/keyrings/debian-archive-keyring.gpg  debian-archive-keyring
'

if [ "${1-}" = system ]; then
	needs="$needs
debos                   debos
kiwi-ng                 kiwi
mkosi                   mkosi
piuparts                piuparts
rsync                   rsync
autoreconf              autoconf
automake                automake
bison                   bison
cmake                   cmake
docker-registry         docker-registry
flex                    flex
libtoolize              libtool
meson                   meson
ninja                   ninja-build
pytest-3                python3-pytest
/usr/include/libxml2/libxml/tree.h  libxml2-dev
/usr/include/libxslt/xslt.h  libxslt1-dev
/usr/include/lz4.h      liblz4-dev
/usr/include/oniguruma.h  libonig-dev
/usr/include/openssl/ssl.h  libssl-dev
/usr/include/pcre2.h    libpcre2-dev
/usr/include/popt.h     libpopt-dev
/usr/include/readline/readline.h  libreadline-dev
/usr/include/sys/acl.h  libacl1-dev
/usr/include/tcpd.h     libwrap0-dev
/usr/include/xxhash.h   libxxhash-dev
/usr/bin/python3-config  python3-dev
/usr/include/zlib.h     zlib1g-dev
/usr/include/zstd.h     libzstd-dev
/usr/lib/python3/dist-packages/setuptools  python3-setuptools
qemu-system-x86_64      qemu-system-x86
newuidmap               uidmap
podman                  podman
buildah                 buildah
crun                    crun
runc                    runc
skopeo                  skopeo
umoci                   umoci
ip                      iproute2
xwd                     x11-apps
xwininfo                x11-utils
Xvfb                    xvfb
"
fi

# Some of the programs are for root and outside a user's PATH.
PATH=$PATH:/usr/sbin:/sbin

missing=$(echo "$needs" | while read -r what package; do
	case $what in
	'') ;;
	/*) [ -e "$what" ] || echo "$package" ;;
	*) command -v "$what" >/dev/null || echo "$package" ;;
	esac
done | sort -u | tr '\n' ' ')

[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
	echo "The tests need these packages, by their names in Debian: $missing" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "The tests need programs that are not here. Install them, and start again:" >&2
	echo "    sudo apt-get update && sudo apt-get install --no-install-recommends $missing" >&2
	exit 1
fi
echo "installing what the tests need: $missing"
export DEBIAN_FRONTEND=noninteractive
# The tests download packages, too, and lists of long ago name what is not there any more.
apt-get update -q || echo "with the package lists that are there" >&2
# shellcheck disable=SC2086 # the names are words
apt-get install -q -y --no-install-recommends $missing
