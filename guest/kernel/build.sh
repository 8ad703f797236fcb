#!/usr/bin/env bash
# Builds the small guest kernel from the source package of Debian's kernel: tinyconfig with runvm.config on top.
#
# usage: build.sh [DIR]             (default: build/kernel)
#
# Leaves DIR/small, a root as mkguest -kernel-root takes it: boot/vmlinuz-RELEASE, which is an uncompressed vmlinux, and
# lib/modules/RELEASE with the list of what is built in. Does nothing when that is as new as the source package, the
# configuration and this script. Prints progress on stderr. The source (1.4 GB) and the objects stay in DIR/source and
# DIR/objects for the next time.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-build/kernel}
fragment=$here/runvm.config
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

say() { echo "kernel: $*" >&2; }

die() {
	say "$*"
	exit 1
}

# The package that the metapackage stands for, such as linux-source-6.1.
package() { apt-cache depends linux-source 2>/dev/null | sed -n 's/^ *|*Depends: \(linux-source-[0-9].*\)$/\1/p' | head -n 1; }

candidate() { LC_ALL=C apt-cache policy "$1" | sed -n 's/^ *Candidate: //p'; }

# Sets pkg and version.
resolve() {
	pkg=$(package)
	[ -n "$pkg" ] || return 1
	version=$(candidate "$pkg")
	[ -n "$version" ] && [ "$version" != "(none)" ]
}

# Unpacks the source package into DIR/source, unless that version is there. An interrupted run leaves nothing that the
# next one would take for it.
fetch() {
	[ "$(cat "$dir/source/.runvm-version" 2>/dev/null || true)" != "$pkg $version" ] || return 0
	rm -rf "$dir/source" "$dir/objects"
	local tmp
	tmp=$(mktemp -d "$dir/.source.XXXXXX")
	# shellcheck disable=SC2064 # expanded now
	trap "rm -rf '$tmp'" EXIT
	say "downloading $pkg $version (about 140 MB)..."
	(cd "$tmp" && apt-get -q -o APT::Sandbox::User=root download "$pkg=$version" >&2) || die "download of $pkg $version failed: run apt-get update"
	say "unpacking..."
	dpkg-deb --fsys-tarfile "$tmp"/*.deb | tar -xO "./usr/src/$pkg.tar.xz" | tar -xJ -C "$tmp"
	echo "$pkg $version" >"$tmp/$pkg/.runvm-version"
	mv "$tmp/$pkg" "$dir/source"
	rm -rf "$tmp"
	trap - EXIT
}

# Makes the final configuration, and compares it with what the fragment asks for.
configure() {
	mkdir -p "$dir/objects"
	make -s -C "$dir/source" "O=$dir/objects" tinyconfig >/dev/null
	(cd "$dir/objects" && "$dir/source/scripts/kconfig/merge_config.sh" -m .config "$fragment" >/dev/null 2>&1)
	make -s -C "$dir/source" "O=$dir/objects" olddefconfig
	local line name bad=0
	while IFS= read -r line; do
		name=${line%%=*}
		case $line in
		CONFIG_*=n) ! grep -q "^$name=" "$dir/objects/.config" || { say "$(grep "^$name=" "$dir/objects/.config"): wanted $line"; bad=1; } ;;
		CONFIG_*) grep -qxF "$line" "$dir/objects/.config" || { say "not in effect: $line"; bad=1; } ;;
		esac
	done <"$fragment"
	[ "$bad" = 0 ] || die "$fragment does not come out as it stands: dependencies are missing, or $pkg has other options"
}

install_root() {
	local release root=$dir/.small.new
	release=$(make -s -C "$dir/source" "O=$dir/objects" kernelrelease)
	rm -rf "$root"
	mkdir -p "$root/boot" "$root/lib/modules/$release/kernel"
	strip -o "$root/boot/vmlinuz-$release" "$dir/objects/vmlinux"
	cp "$dir/objects/modules.builtin" "$root/lib/modules/$release/"
	cp "$dir/objects/.config" "$root/boot/config-$release"
	stamp >"$root/stamp"
	rm -rf "$dir/small"
	mv "$root" "$dir/small"
	say "Linux $release is in $dir/small"
}

# What the result depends on.
stamp() {
	echo "$pkg $version"
	cat "$fragment" "$0" | sha256sum
}

for tool in apt-get apt-cache dpkg-deb flex bison bc make gcc strip; do
	command -v "$tool" >/dev/null || die "$tool not found (scripts/install-needs.sh kernel)"
done
resolve || {
	say "updating the package lists..."
	apt-get -qq update >&2 || die "apt-get update failed: run it as root"
	resolve || die "no package linux-source in the package sources"
}
if [ "$(cat "$dir/small/stamp" 2>/dev/null || true)" = "$(stamp)" ]; then
	say "$dir/small is up to date"
	exit 0
fi
fetch
configure
# The same bytes wherever and whenever it is built.
export KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' KBUILD_BUILD_USER=runvm KBUILD_BUILD_HOST=runvm
started=$SECONDS
say "compiling with $(nproc) jobs..."
make -s -C "$dir/source" "O=$dir/objects" "-j$(nproc)" vmlinux >&2
say "compiled in $((SECONDS - started)) s"
install_root
