#!/usr/bin/env bash
# Installs the Debian packages that building ("build") or demo and tests ("all") need, those that are missing only.
set -euo pipefail

build=(gcc libc6-dev libseccomp-dev make git ca-certificates protobuf-compiler dpkg-dev)
run=(qemu-system-x86 podman catatonit conmon netavark aardvark-dns runc crun busybox-static debootstrap iproute2 iptables
	procps curl xz-utils e2fsprogs man-db shellcheck)
case "${1:-}" in
build) want=("${build[@]}") ;;
all) want=("${build[@]}" "${run[@]}") ;;
*)
	echo "usage: $0 build|all" >&2
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
install=(apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0)
# A fresh machine has no package lists yet, a stale one has old ones.
if ! "${install[@]}" "${missing[@]}" >/dev/null 2>&1; then
	apt-get update -qq
	"${install[@]}" "${missing[@]}" >/dev/null
fi
echo "== packages installed in $((SECONDS - started)) s"
