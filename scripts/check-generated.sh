#!/usr/bin/env bash
# Proves that the committed protobuf code is what agent.proto generates.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp agentproto/*.pb.go "$copy/"
go generate ./agentproto
for f in agentproto/*.pb.go; do
	# The first comment names the version of the local protoc, which differs between machines.
	if ! diff -q <(grep -v '^// .*protoc ' "$copy/$(basename "$f")") <(grep -v '^// .*protoc ' "$f") >/dev/null; then
		echo "$f is not what agent.proto generates: run \"make generate\" and commit the result" >&2
		exit 1
	fi
	cp "$copy/$(basename "$f")" "$f"
done
echo "generated code is current"
