#!/usr/bin/env bash
# Runs every fuzz target of the module for TIME (such as 5s or 1m) each, one after the other.
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:?usage: $0 TIME [REGEXP of target names]}
only=${2:-.}

targets=()
while IFS=: read -r file name; do
	[[ $name =~ $only ]] && targets+=("./$(dirname "$file") $name")
done < <(git grep --untracked -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | sed 's/:func /:/' | sort)

if [ ${#targets[@]} -eq 0 ]; then
	echo "$0: no fuzz target matches $only" >&2
	exit 1
fi
echo "${#targets[@]} fuzz targets, $time each:"
printf '  %s\n' "${targets[@]}"

failed=()
for target in "${targets[@]}"; do
	read -r package name <<<"$target"
	echo "== $target"
	go test "$package" -run '^$' -fuzz "^$name\$" -fuzztime "$time" || failed+=("$target")
done
if [ ${#failed[@]} -gt 0 ]; then
	echo "failed:" >&2
	printf '  %s\n' "${failed[@]}" >&2
	exit 1
fi
