#!/usr/bin/env bash
# Installs the Debian packages that building ("build"), the small guest kernel ("kernel"), demo and most tests ("all"),
# or all tests ("engines") need, those that are missing only. No daemon is started and no package removed.
set -euo pipefail

build=(gcc libc6-dev libseccomp-dev make git ca-certificates protobuf-compiler dpkg-dev)
kernel=(flex bison bc libelf-dev xz-utils)
run=(qemu-system-x86 podman catatonit conmon netavark aardvark-dns runc crun busybox-static debootstrap iproute2 iptables
	procps curl xz-utils e2fsprogs man-db shellcheck)
engines=(docker.io containerd docker-compose)
case "${1:-}" in
build) want=("${build[@]}") ;;
kernel) want=("${build[@]}" "${kernel[@]}") ;;
all) want=("${build[@]}" "${run[@]}") ;;
engines) want=("${build[@]}" "${run[@]}" "${engines[@]}") ;;
*)
	echo "usage: $0 build|kernel|all|engines" >&2
	exit 2
	;;
esac

missing=()
for p in "${want[@]}"; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true)" = installed ] || missing+=("$p")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
	echo "$0: these packages are missing, and installing them needs root: ${missing[*]}" >&2
	exit 1
fi
echo "== installing ${#missing[@]} packages: ${missing[*]}"
started=$SECONDS
export DEBIAN_FRONTEND=noninteractive
# docker.io would replace Docker's own packages.
install=(apt-get install -y -qq --no-install-recommends --no-remove -o Dpkg::Use-Pty=0)
# Packages of daemons start them, unless a policy forbids it: invoke-rc.d(8). The tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 0755 $policy
fi
# A fresh machine has no package lists yet, a stale one has old ones.
if ! "${install[@]}" "${missing[@]}" >/dev/null 2>&1; then
	apt-get update -qq
	"${install[@]}" "${missing[@]}" >/dev/null
fi
echo "== packages installed in $((SECONDS - started)) s"
