#!/usr/bin/env bash
# Shows the main job: podman runs nginx, each container in a virtual machine of its own. Needs root and what
# "make needs all images" makes. podman's storage, state and networks are in a temporary folder; nothing of it is left
# behind, but runvm keeps the template that it makes for the next start ("runvm template rm --all").
set -euo pipefail
cd "$(dirname "$0")/.."

runvm=$PWD/build/runvm
image_file=build/images/debian.tar
name=runvm-demo-$$

[ "$(id -u)" -eq 0 ] || { echo "$0: needs root" >&2; exit 1; }
for need in "$runvm" build/guest/vmlinux "$image_file"; do
	[ -e "$need" ] || { echo "$0: $need is missing: run \"make all images\" first" >&2; exit 1; }
done

dir=$(mktemp -d -t runvm-demo-XXXXXX)
pod() {
	podman --root "$dir/root" --runroot "$dir/runroot" --tmpdir "$dir/tmp" --network-config-dir "$dir/networks" \
		--cgroup-manager cgroupfs --events-backend file --storage-driver overlay --network-backend netavark \
		--runtime "$runvm" "$@"
}

cleanup() {
	local code=$?
	trap - EXIT INT TERM
	if [ $code -ne 0 ]; then
		echo "== failed with code $code" >&2
		if pod container exists "$name" 2>/dev/null; then
			echo "== the container's log:" >&2
			pod logs "$name" 2>&1 | tail -n 20 >&2 || true
		fi
	fi
	pod rm --force --time 0 "$name" >/dev/null 2>&1 || true
	pod system reset --force >/dev/null 2>&1 || true
	rm -rf "$dir"
	exit $code
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

names=() times=()
# step TEXT COMMAND...: says what is done, does it, and notes how long it took. Its output is in $out.
step() {
	local text=$1 started=${EPOCHREALTIME/./} took
	shift
	echo
	echo "== $text"
	out=$("$@")
	took=$(((${EPOCHREALTIME/./} - started) / 1000))
	names+=("$text")
	times+=("$took")
}

# expect TEXT: fails unless the last step printed it.
expect() {
	case $out in
	*"$1"*) ;;
	*)
		echo "expected \"$1\", got: $out" >&2
		exit 1
		;;
	esac
}

free_port() {
	local port
	for port in $(shuf -i 20000-30000 -n 50); do
		[ -n "$(ss -Hltn "sport = :$port")" ] || { echo "$port"; return; }
	done
	echo "no free port found" >&2
	return 1
}

# fetch URL: nginx may need a moment after the container has started, hence the retries.
fetch() { curl -sS --fail --max-time 20 --retry 20 --retry-delay 1 --retry-all-errors "$1"; }

# processes: the host's processes of the container, by its cgroup.
processes() {
	local pid path
	pid=$(pod inspect --format '{{.State.Pid}}' "$name")
	path=$(sed -n 's/^[0-9]*:memory:/memory/p' "/proc/$pid/cgroup")
	[ -n "$path" ] || path=$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
	cat "/sys/fs/cgroup/$path/cgroup.procs"
}

# accelerator: what the container's QEMU was started with.
accelerator() {
	local p
	while read -r p; do
		case $(readlink "/proc/$p/exe") in
		*/qemu-system-*)
			tr '\0' '\n' <"/proc/$p/cmdline" | grep -A1 -x -e -accel |
				sed -n 's/^kvm.*/KVM/p; s/^tcg.*/software emulation (TCG)/p'
			return
			;;
		esac
	done < <(processes)
	echo "no QEMU in the container's cgroup" >&2
	return 1
}

page="Hello from nginx in a virtual machine"
port=$(free_port)

step "import the image" pod import -q -c 'CMD ["nginx", "-g", "daemon off;"]' -c 'EXPOSE 80' "$image_file" demo-nginx
echo "${out:0:26}..."

step "run nginx in a VM" pod run -d --name "$name" -p "127.0.0.1:$port:80" demo-nginx
echo "container ${out:0:12}"

step "exec: write the page" pod exec "$name" sh -c "echo '$page' | tee /var/www/html/index.html"
expect "$page"
echo "$out"

step "exec: the guest's kernel" pod exec "$name" uname -rv
guest_kernel=$out
echo "guest: $guest_kernel"
echo "host:  $(uname -rv)"
[ "$guest_kernel" != "$(uname -rv)" ] || { echo "the container runs on the host's kernel" >&2; exit 1; }

step "exec: the guest's processes" pod exec "$name" ps -eo pid,user,args --no-headers
expect nginx
echo "$out" | grep nginx

address=$(pod inspect --format '{{.NetworkSettings.IPAddress}}' "$name")
step "exec: the guest's address" pod exec "$name" ip -brief -4 address
expect "$address/"
echo "$out"

step "fetch through the published port" fetch "http://127.0.0.1:$port/"
expect "$page"
echo "http://127.0.0.1:$port/ -> $out"

step "fetch by address" fetch "http://$address/"
expect "$page"
echo "http://$address/ -> $out"

accel=$(accelerator)

step "stop the container" pod stop --time 20 "$name"
step "remove the container" pod rm "$name"

echo
echo "accelerator: $accel"
echo
printf '%-34s %8s\n' step seconds
for i in "${!names[@]}"; do
	printf '%-34s %4d.%03d\n' "${names[i]}" $((times[i] / 1000)) $((times[i] % 1000))
done
