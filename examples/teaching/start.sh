#!/bin/sh
# The hooks and the SSH server, until Ctrl-C or until one of them ends.
set -eu
here=$(dirname "$0")
directory=$(python "$here/settings.py")
python "$here/hooks.py" &
hooks=$!
moorage serve --config "$directory/config.yaml" &
server=$!
trap 'kill "$hooks" "$server" 2>/dev/null || true' INT TERM EXIT
wait "$server"
