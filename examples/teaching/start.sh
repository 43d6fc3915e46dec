#!/usr/bin/env bash
# The hooks and the SSH server, until Ctrl-C or until one of them ends: then the other ends too.
set -eu
here=$(dirname "$0")
export PATH="$here/../../.venv/bin:$PATH"  # where `make demo` has put Moorage
directory=$(python "$here/settings.py")
python "$here/hooks.py" &
hooks=$!
moorage serve --config "$directory/config.yaml" &
server=$!
trap 'kill "$hooks" "$server" 2>/dev/null || true; wait' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
status=0
wait -n "$hooks" "$server" || status=$?
kill -0 "$hooks" 2>/dev/null || echo "$0: the hooks have ended, and the SSH server with them" >&2
exit "$status"
