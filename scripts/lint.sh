#!/usr/bin/env bash
# Static checks of everything that is committed or about to be. Says what fails, goes on, and fails at the end. Needs Go
# and the modules of go.mod; shellcheck if it is installed. internal/layers checks the direction of imports.
set -euo pipefail
cd "$(dirname "$0")/.."

# Lint changes nothing, go.mod included.
export GOFLAGS=-mod=readonly
max_lines=500
# Tests have build tags of their own: each set is checked as it is compiled. The agent is built with the last one.
tag_sets=("" "privileged,vm" e2e "seccomp,netgo,osusergo,runc_nocriu,grpcnotrace")
failed=()

# check NAME COMMAND...: runs the command and notes a failure.
check() {
	local name=$1 started=$SECONDS
	shift
	if "$@"; then
		printf 'ok    %-36s %3d s\n' "$name" $((SECONDS - started))
	else
		printf 'FAIL  %-36s %3d s\n' "$name" $((SECONDS - started))
		failed+=("$name")
	fi
}

# nothing_from COMMAND...: succeeds when the command does and prints nothing.
nothing_from() {
	local out
	out=$("$@") || { printf '%s\n' "$out"; return 1; }
	[ -z "$out" ] || { printf '%s\n' "$out"; return 1; }
}

# files SUFFIX: the module's files with that suffix, those not committed yet included.
files() {
	git ls-files --cached --others --exclude-standard -- "*$1" | while read -r f; do
		[ ! -e "$f" ] || echo "$f"
	done
}

unformatted() { files .go | xargs gofmt -l; }

long_files() {
	files .go | while read -r f; do
		grep -q '^// Code generated .* DO NOT EDIT\.$' "$f" && continue
		n=$(wc -l <"$f")
		[ "$n" -le "$max_lines" ] || echo "$f has $n lines, at most $max_lines are allowed"
	done
}

undocumented() {
	# A package of test files alone has no Doc for go list: its comment is looked for in the files.
	go list -tags privileged,e2e -f '{{if not .Doc}}{{.Dir}}{{end}}' ./... | while read -r dir; do
		grep -qsE '^(// Package|/\* Package) ' "$dir"/*_test.go || echo "$dir: no package comment"
	done
}

# All tag sets in one run, so that a finding is printed once. Not checked: the form of error texts (ST1005), since
# engines look for runc's own texts, capitals included.
static_check() {
	for i in "${!tag_sets[@]}"; do
		echo "set$i: -tags=${tag_sets[i]}"
	done | go tool staticcheck -checks inherit,-ST1005 -matrix ./...
}

shell_scripts() {
	local scripts
	mapfile -t scripts < <(files .sh)
	[ ! -e .ci/run ] || scripts+=(.ci/run)
	shellcheck "${scripts[@]}"
}

check gofmt nothing_from unformatted
for tags in "${tag_sets[@]}"; do
	check "go vet${tags:+ ($tags)}" go vet -tags "$tags" ./...
done
check staticcheck static_check
check "imports" go test -count=1 ./internal/layers
check "at most $max_lines lines a file" nothing_from long_files
check "package comments" nothing_from undocumented
check "go mod tidy" go mod tidy -diff
if command -v shellcheck >/dev/null; then
	check shellcheck shell_scripts
else
	echo "left  shellcheck: not installed (scripts/install-needs.sh all)"
fi

if [ ${#failed[@]} -gt 0 ]; then
	printf 'lint: %d of the checks failed:\n' "${#failed[@]}" >&2
	printf '  %s\n' "${failed[@]}" >&2
	exit 1
fi
