#!/bin/sh
# The broker and the SSH server, until Ctrl-C or until the server ends.
set -eu
unset VAULT_TOKEN PGUSER PGPASSWORD  # they are for prepare.py alone
here=$(dirname "$0")
directory=${JUMP_DIR:-$HOME/.local/state/jump-host}
python "$here/broker.py" &
broker=$!
moorage serve --config "$directory/config.yaml" &
server=$!
trap 'kill "$broker" "$server" 2>/dev/null || true' INT TERM EXIT
wait "$server"
