#!/bin/sh
# Edits every ELF file of this machine, and of packages of other architectures,
# with all judges. Takes some minutes.
set -eu
cd "$(dirname "$0")/.."

cache=.cache/elf
packages='bash coreutils libc6 libgcc-s1 libstdc++6 libssl3 perl-base libpython3.11-minimal python3.11-minimal gcc-12 cpp-12
	libcrypt1 libsqlite3-0 libxml2 util-linux binutils-common openssh-client systemd udev git'
export HASHPKG_TEST_ELF=1
PATH=$PATH:/usr/sbin:/sbin

status=0
mkdir -p "$cache"
# judge PATTERN PACKAGE: runs tests and prints what they found.
judge() {
	go test -count=1 -timeout 60m -v -run "$1" "$2" >"$cache/log" 2>&1 || status=1
	grep -v '^=== ' "$cache/log"
}

echo "== this machine"
judge 'TestCorpus|TestProgramRuns' ./elfedit
judge TestLoadLikeTheLoader ./ldso

# foreign NAME SUITE ARCH PACKAGE...: edits what is in packages.
foreign() {
	echo "== $1 ($2)"
	dir=$PWD/$cache/$1 suite=$2 arch=$3
	shift 3
	rm -rf "$dir"
	mkdir -p "$dir"
	for deb in $(go run ./internal/archive/fetch -suite "$suite" -arch "$arch" "$@" || echo missing); do
		dpkg-deb -x "$deb" "$dir" || status=1
	done
	HASHPKG_TEST_ELF_DIRS=$dir judge TestCorpus ./elfedit
	rm -rf "$dir"
}

for arch in arm64 armhf s390x ppc64el mipsel i386; do
	foreign $arch bookworm $arch $packages
done
foreign riscv64 trixie riscv64 bash coreutils libc6 libgcc-s1 libstdc++6 libssl3t64 perl-base python3.13-minimal util-linux binutils-common git
# No release has programs for these machines; the cross compilers' libraries are real.
foreign mips bookworm amd64 libc6-mips-cross libgcc-s1-mips-cross libstdc++6-mips-cross
foreign mips64 bookworm amd64 libc6-mips64-cross
foreign powerpc bookworm amd64 libc6-powerpc-cross libstdc++6-powerpc-cross
# Other languages' linkers and runtimes.
foreign rust bookworm amd64 ripgrep fd-find bat
foreign go bookworm amd64 gh restic golang-1.19-go
exit $status
