#!/bin/sh
# SPDX-License-Identifier: MIT
# Checks what building (build), running (run), testing (test), `make peers` (peers) or Linux's driver (linux, with the
# package of its kernel's headers) needs; installs what is missing where it may.
set -u

# Debian package, or command=package where the command is enough, whoever installed it.
build='gcc=gcc ld=binutils objcopy=binutils python3=python3'
run="$build grub-mkrescue=grub-common grub-pc-bin xorriso=xorriso mformat=mtools
     bochs=bochs bochs-term bochsbios vgabios"
test="$run clang=clang libclang-rt-dev clang-format=clang-format libc6-dev libcmocka-dev libzydis-dev
      qemu-system-x86_64=qemu-system-x86"
peers="$run cpio=cpio gzip=gzip linux-libc-dev libc6-dev"
linux="gcc=gcc make=make libc6-dev ${2-}"

case "${1-}" in
build) wanted=$build ;;
run) wanted=$run ;;
test) wanted=$test ;;
peers) wanted=$peers ;;
linux) wanted=$linux ;;
*) echo "usage: need.sh build|run|test|peers|linux PACKAGE" >&2; exit 2 ;;
esac

installed() {
    dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

missing() {
    for item in $wanted; do
        package=${item#*=}
        case $item in
        *=*) command -v "${item%%=*}" >/dev/null || printf ' %s' "$package" ;;
        *) ! command -v dpkg-query >/dev/null || installed "$package" || printf ' %s' "$package" ;;
        esac
    done
}

# One at a time: make may ask for several sets at once, and apt has one lock.
mkdir -p build
exec 9>build/.need
flock 9

packages=$(missing)
[ -n "$packages" ] || exit 0

command="apt-get install --yes --no-install-recommends$packages"
if ! command -v apt-get >/dev/null; then
    echo "Missing:$packages (names of Debian's packages; there is no apt-get here)." >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    as_root='env'
elif sudo -n true 2>/dev/null; then
    as_root='sudo -n env'
else
    printf 'Missing:%s. Please run:\n  sudo %s\n' "$packages" "$command" >&2
    exit 1
fi

echo "Installing with apt:$packages"
$as_root apt-get update -qq || echo "apt-get update failed; trying all the same" >&2
# shellcheck disable=SC2086 # the command is words
if ! $as_root DEBIAN_FRONTEND=noninteractive $command -qq >build/apt.log 2>&1; then
    tail -n 5 build/apt.log >&2
    printf 'That failed (build/apt.log). Please run:\n  sudo %s\n' "$command" >&2
    exit 1
fi
