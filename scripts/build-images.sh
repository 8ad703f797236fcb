#!/usr/bin/env bash
# Builds, from Debian packages and without a registry, what demo and tests run:
#   OUT/busybox/          a root file system with a static busybox
#   OUT/debian.tar        Debian with nginx, redis and the usual tools, for "podman import"
# Each is made once and kept.
set -euo pipefail

out=${1:?usage: $0 OUT}
packages=nginx-light,redis-server,iproute2,procps,iputils-ping,curl,attr,util-linux
mkdir -p "$out"

if [ ! -e "$out/busybox/.complete" ]; then
	rm -rf "$out/busybox"
	mkdir -p "$out"/busybox/{bin,etc,proc,sys,dev,tmp,root,var/tmp,home/user}
	chmod 1777 "$out/busybox/tmp" "$out/busybox/var/tmp"
	cp /bin/busybox "$out/busybox/bin/busybox"
	for applet in $("$out/busybox/bin/busybox" --list); do
		[ "$applet" = busybox ] || ln -s busybox "$out/busybox/bin/$applet"
	done
	printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n' >"$out/busybox/etc/passwd"
	printf 'root:x:0:\nuser:x:1000:\nextra:x:2000:user\n' >"$out/busybox/etc/group"
	chown 1000:1000 "$out/busybox/home/user"
	touch "$out/busybox/.complete"
fi

if [ ! -e "$out/debian.tar" ]; then
	echo "== building a Debian image from packages (about a minute)"
	started=$SECONDS
	root=$(mktemp -d)
	trap 'rm -rf "$root"' EXIT
	debootstrap --variant=minbase --include="$packages" bookworm "$root" >"$out/debootstrap.log" 2>&1 ||
		{ tail -n 20 "$out/debootstrap.log" >&2; exit 1; }
	rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}
	tar -C "$root" --numeric-owner --xattrs -cf "$out/debian.tar.new" .
	mv "$out/debian.tar.new" "$out/debian.tar"
	echo "== Debian image built in $((SECONDS - started)) s"
fi
