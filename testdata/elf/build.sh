#!/bin/sh
# Makes the files whose edits have golden digests, from the sources beside it. They are kept, since
# another compiler makes others: gcc 12.2 and binutils 2.40 of Debian 12 made them.
set -eu
cd "$(dirname "$0")"
libc=$(mktemp -d)
trap 'rm -rf "$libc"' EXIT
for to in amd64:x86_64-linux-gnu i386:i686-linux-gnu arm64:aarch64-linux-gnu; do
	arch=${to%%:*} gcc=${to#*:}-gcc
	flags='-O1 -nostdlib -ffreestanding -fno-asynchronous-unwind-tables -fno-stack-protector -Wl,--build-id=none -Wl,-z,max-page-size=4096 -s'
	# A C library with the symbols that are used, in a version.
	printf 'V_1 { global: *; };\n' >"$libc/map"
	printf 'int atexit(void (*f)(void)) { return !f; }\nint puts(const char *s) { return !s; }\n' >"$libc/libc.c"
	# shellcheck disable=SC2086 # the flags are words
	{
		$gcc $flags -shared -fPIC -Wl,-soname,libc.so.6 -Wl,--version-script="$libc/map" "$libc/libc.c" -o "$libc/libc.so.6"
		$gcc $flags -shared -fPIC -Wl,-soname,libgolden.so.1 library.c "$libc/libc.so.6" -o "library-$arch"
		$gcc $flags -pie -fPIE -Wl,-rpath,/opt/golden/lib program.c "library-$arch" "$libc/libc.so.6" -o "program-$arch"
		$gcc $flags -no-pie -fno-pie program.c "library-$arch" "$libc/libc.so.6" -o "fixed-$arch"
	}
done
