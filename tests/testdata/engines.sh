#!/usr/bin/env bash
# Runs containerd and Docker on a machine of their own: namespaces, cgroups, /run and storage that nobody else uses.
# usage: engines.sh DIRECTORY
# DIRECTORY has containerd.toml and daemon.json. All ends when standard input does, also if whoever holds it is killed.
set -euo pipefail
dir=$1

# hierarchies: mount point, type, controllers and our cgroup there of each cgroup file system.
hierarchies() {
	local own line
	awk '{ for (i = 7; $i != "-"; i++); if ($(i+1) ~ /^cgroup2?$/) print $5, $4, $(i+1), $(i+3) }' /proc/self/mountinfo |
		while read -r mountpoint root type options; do
			options=${options#rw,}
			[ "$type" = cgroup ] || options=
			line=$(grep -E "^[0-9]+:$options:" /proc/self/cgroup)
			own=${line#*:*:}
			echo "$mountpoint $type ${options:--} $mountpoint/${own#"$root"}/runvm-engines-$$"
		done
}

if [ "${2:-}" != inside ]; then
	hierarchies >"$dir/hierarchies"
	while read -r _ _ options group; do
		mkdir "$group"
		if [ "$options" = cpuset ]; then
			cat "$group/../cpuset.cpus" >"$group/cpuset.cpus"
			cat "$group/../cpuset.mems" >"$group/cpuset.mems"
			echo 1 >"$group/cgroup.clone_children"
		fi
		echo $$ >"$group/cgroup.procs"
	done <"$dir/hierarchies"
	exec unshare --mount --pid --net --ipc --uts --cgroup --propagation private --fork --kill-child --mount-proc "$0" "$dir" inside
fi

umount --recursive /sys/fs/cgroup
[ "$(wc -l <"$dir/hierarchies")" = 1 ] || mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
while read -r mountpoint type options _; do
	mkdir -p "$mountpoint"
	case $type in
	cgroup) mount -t cgroup -o "$options" cgroup "$mountpoint" ;;
	cgroup2) mount -t cgroup2 cgroup2 "$mountpoint" ;;
	esac
done <"$dir/hierarchies"
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lock
mount --make-rshared /
ip link set lo up

containerd --config "$dir/containerd.toml" >"$dir/containerd.log" 2>&1 &
containerd=$!
for _ in $(seq 600); do
	[ ! -S "$dir/containerd.sock" ] || break
	kill -0 $containerd
	sleep 0.1
done
dockerd --host "unix://$dir/docker.sock" --containerd "$dir/containerd.sock" --config-file "$dir/daemon.json" \
	--data-root "$dir/docker" --exec-root /run/docker --pidfile /run/docker.pid >"$dir/dockerd.log" 2>&1 &
dockerd=$!
cat >/dev/null
kill $dockerd
wait $dockerd || true
kill $containerd
wait $containerd || true
