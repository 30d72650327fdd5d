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

for arch in arm64 armhf s390x ppc64el mipsel i386; do
	echo "== $arch"
	rm -rf "${cache:?}/$arch"
	mkdir -p "$cache/$arch"
	for deb in $(go run ./internal/archive/fetch -suite bookworm -arch "$arch" $packages); do
		dpkg-deb -x "$deb" "$cache/$arch"
	done
	export HASHPKG_TEST_ELF_DIRS="$PWD/$cache/$arch"
	judge TestCorpus ./elfedit
	rm -rf "${cache:?}/$arch"
done
exit $status
