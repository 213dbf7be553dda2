#!/bin/sh
# SPDX-License-Identifier: MIT
# Finds Bochs 3.0, the one with posted interrupts, or gets it; prints its command and its folder of BIOSes, a line each.
#
# From Debian 13 on it is the distribution's own. Debian 12 has 2.7; there 3.0 and the C library that it wants are
# unpacked into a folder of their own, from the mirror that apt uses here, and nothing of the machine is changed.
# What goes wrong is one line on standard error, and status 1.
set -u

suite=trixie
packages='bochs bochsbios vgabios libc6 libstdc++6 libgcc-s1 libltdl7 libreadline8t64 libtinfo6 zlib1g'
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
    echo "no Bochs 3.0: $1" >&2
    exit 1
}

# A model that no version before 3.0 has.
is_new() {
    "$1" -help cpu </dev/null 2>&1 | grep -q '^ *sapphire_rapids'
}

found() {
    printf '%s\n%s\n' "$1" "$2"
    exit 0
}

own=$(command -v bochs) || fail 'bochs is not installed (make need-run installs it), and 3.0 needs its libraries'
! is_new "$own" || found "$own" "${BXSHARE:-/usr/share/bochs}"

# The first place that can be written: one that outlives `make clean` and serves other trees, or build/.
for place in "${XDG_CACHE_HOME:-/var/cache}" "${HOME:-/nonexistent}/.cache" build; do
    mkdir -p "$place/bellhop" 2>/dev/null && [ -w "$place/bellhop" ] && break
done
top=$(cd "$place/bellhop" && pwd) || fail "cannot write $place/bellhop"
folder=$top/bochs-3.0
exec 9>"$top/.lock"
flock 9
[ ! -x "$folder/bochs" ] || found "$folder/bochs" "$folder/usr/share/bochs"

[ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || fail 'it is fetched for Debian on amd64 only'
# apt trusts what this keyring signed and nothing else; Debian 12 has had trixie's keys since its update of 2025.
[ -e /usr/share/keyrings/debian-archive-$suite-stable.gpg ] ||
    fail "the keyring does not know Debian's $suite: apt-get install debian-archive-keyring"

work=$top/bochs-3.0.new
rm -rf "$work"
mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/apt/deb"
# shellcheck disable=SC1091 # it is the machine's
here=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
# shellcheck disable=SC2016 # apt-get's own variables
mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null |
    awk -v suite="$here" '$1 == suite { print $2; exit }')
cat >"$work/apt/list.sources" <<LIST
Types: deb
URIs: ${mirror:-http://deb.debian.org/debian}
Suites: $suite
Components: main
Architectures: amd64
Signed-By: $keyring
LIST

apt() {
    apt-get -qq -o "Dir::State::Lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache" -o APT::Sandbox::User=root \
        -o "Dir::Etc::SourceList=$work/apt/list.sources" -o Dir::Etc::SourceParts=/dev/null \
        -o APT::Update::Error-Mode=any -o Acquire::Retries=1 -o Acquire::http::Timeout=20 "$@" \
        >"$work/apt/log" 2>&1 || fail "apt-get $1: $(sed -n 's/^E: //p' "$work/apt/log" | head -n 1)"
}

echo "Getting Bochs 3.0 from Debian's $suite into $folder" >&2
apt update
# shellcheck disable=SC2086 # the packages are words
(cd "$work/apt/deb" && apt download $packages) || exit 1
for package in "$work"/apt/deb/*.deb; do
    dpkg -x "$package" "$work" || fail "cannot unpack $package"
done
rm -rf "$work/apt"

# Its own loader, because the C library belongs to one; what is not in the folder comes from the machine.
cat >"$work/bochs" <<'RUN'
#!/bin/sh
folder=${0%/*}
libraries=/usr/lib/x86_64-linux-gnu
export LTDL_LIBRARY_PATH="$folder$libraries/bochs/plugins" BXSHARE="$folder/usr/share/bochs"
exec "$folder/usr/lib64/ld-linux-x86-64.so.2" --library-path "$folder$libraries:$libraries" "$folder/usr/bin/bochs-bin" "$@"
RUN
chmod +x "$work/bochs"
is_new "$work/bochs" || fail "what was unpacked does not run: $("$work/bochs" -help cpu </dev/null 2>&1 | tail -n 1)"
mv "$work" "$folder" || fail "cannot make $folder"
found "$folder/bochs" "$folder/usr/share/bochs"
