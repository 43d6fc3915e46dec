"""Where everything is: from environment variables, with defaults for one machine."""

from __future__ import annotations

import os
from pathlib import Path
from string import Template
from typing import Any

import yaml

HERE = Path(__file__).parent
DEFAULTS = {
    "JUMP_DIR": str(Path.home() / ".local/state/jump-host"),  # keys, secrets, recordings
    "JUMP_PORT": "2222",  # the SSH server's
    "JUMP_BROKER": "127.0.0.1:8090",  # the broker, for the SSH server alone
    "JUMP_POLICY": str(HERE / "policy.yaml"),
    "JUMP_TTL": "60",  # seconds that a credential lives on when nobody renews it
    "JUMP_OIDC_URL": "http://127.0.0.1:8095",  # the identity provider, and this host as its client
    "JUMP_OIDC_CLIENT": "gateway",
    "JUMP_OIDC_SECRET": "",
    "VAULT_ADDR": "http://127.0.0.1:8200",  # Vault or OpenBao
    "PGHOST": "127.0.0.1",  # the database that logins get users of
    "PGPORT": "5432",
    "PGDATABASE": "postgres",
}
SETTINGS = {name: os.environ.get(name) or value for name, value in DEFAULTS.items()}
DIRECTORY = Path(SETTINGS["JUMP_DIR"])
TTL = int(SETTINGS["JUMP_TTL"])


def groups() -> dict[str, dict[str, Any]]:
    """What each group may do, the mightiest first: see policy.yaml."""
    text = Template(Path(SETTINGS["JUMP_POLICY"]).read_text()).substitute(SETTINGS)
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["groups"]
    return found


def keep(name: str, text: str) -> None:
    """Write a file of ours that nobody else may read, as a whole or not at all."""
    new = DIRECTORY / f".{name}.new"
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    new.rename(DIRECTORY / name)
