#!/bin/sh
# Downloads Debian's current kernel package for the guest, without installing it.
#
# usage: fetch-kernel.sh [DIR]      (default: build/kernel)
#
# Prints the package file's path on stdout and progress on stderr. Does nothing when the file is already there. Needs
# root only when the package lists are missing or out of date, since `apt-get update` then has to run.
set -eu

dir=${1:-build/kernel}
meta=linux-image-amd64

say() { echo "fetch-kernel: $*" >&2; }

die() {
	say "$*"
	exit 1
}

# The package that the metapackage stands for, such as linux-image-6.1.0-56-amd64.
package() {
	apt-cache depends "$meta" 2>/dev/null | sed -n 's/^ *|*Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1
}

candidate() { LC_ALL=C apt-cache policy "$1" | sed -n 's/^ *Candidate: //p'; }

update() {
	say "updating the package lists..."
	apt-get -qq update >&2 || die "apt-get update failed: run it as root, or use mkguest -kernel-root"
}

# Sets pkg, version and file.
resolve() {
	pkg=$(package)
	[ -n "$pkg" ] || return 1
	version=$(candidate "$pkg")
	case $version in '' | '(none)') return 1 ;; esac
	file=$dir/${pkg}_$(echo "$version" | sed 's/:/%3a/g')_amd64.deb
}

# Downloads into a folder of its own, so that an interrupted download is never taken for the package. The sandbox user
# _apt often cannot write there; the package's checksum is checked either way.
download() { (cd "$tmp" && apt-get -q -o APT::Sandbox::User=root download "$pkg" >&2); }

for tool in apt-get apt-cache; do
	command -v "$tool" >/dev/null || die "$tool not found: on other distributions than Debian's use mkguest -kernel-root"
done
resolve || {
	update
	resolve || die "no package $meta in the package sources: use mkguest -kernel-root"
}
if [ -f "$file" ]; then
	say "$file is there already"
	echo "$file"
	exit 0
fi
mkdir -p "$dir"
tmp=$(mktemp -d "$dir/.fetch.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
say "downloading $pkg $version (about 70 MB)..."
if ! download; then
	update
	resolve || die "no package $meta in the package sources any more"
	download || die "download of $pkg failed"
fi
mv "$tmp"/*.deb "$file"
say "$file is complete"
echo "$file"
