#!/bin/sh
# Builds the launchers' programs, launcher/src, into a directory: amd64.bin and
# arm64.bin, and refresh-amd64.bin and refresh-arm64.bin. The compilers are Debian 12's; another version makes other bytes.
set -eu
cd "$(dirname "$0")/.."

build() {
	compiler=$1 file=$2 page=$3
	shift 3
	"$compiler" -std=gnu11 -Os -Wall -Wextra -Werror -ffreestanding -fno-pic -no-pie -fno-stack-protector \
		-fno-asynchronous-unwind-tables -fno-unwind-tables -fno-ident -static -nostdlib -s \
		-Wl,--build-id=none,-z,noexecstack,-z,noseparate-code,-z,max-page-size="$page" -o "$file" "$@"
}

build x86_64-linux-gnu-gcc "$1/amd64.bin" 4096 -fcf-protection=none launcher/src/launcher.c
build aarch64-linux-gnu-gcc "$1/arm64.bin" 65536 -mno-outline-atomics launcher/src/launcher.c
build x86_64-linux-gnu-gcc "$1/refresh-amd64.bin" 4096 -fcf-protection=none -Wno-unused launcher/src/refresh.c
build aarch64-linux-gnu-gcc "$1/refresh-arm64.bin" 65536 -mno-outline-atomics -Wno-unused launcher/src/refresh.c
chmod 644 "$1/amd64.bin" "$1/arm64.bin" "$1/refresh-amd64.bin" "$1/refresh-arm64.bin"
