#!/bin/sh
# For mmdebstrap --hook-dir: when all packages are installed, gives each library its
# tree in the new root, and tells programs to search there. This machine's hashpkg
# does it; the root needs none.
set -eu
exec hashpkg sync --root "$1"
