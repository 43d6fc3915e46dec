"""Prepare the database, Vault (or OpenBao) and the directory of the jump host; may be run again at any time.

Needs psql, a database user that may make others (PGUSER, PGPASSWORD), and a Vault token that may set it up
(VAULT_TOKEN).  The broker needs neither: it gets a token of its own that can do nothing but what it is there for.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
from string import Template

import yaml
from settings import DIRECTORY, HERE, SETTINGS, TTL, groups, keep
from vault import Vault, session

DATABASE = Template("$PGHOST:$PGPORT/$PGDATABASE").substitute(SETTINGS)
LONGEST = "12h"  # as security.timeLimits.total of config.yaml
BROKER = """
path "auth/token/create/jump-login" { capabilities = ["update"] }
path "auth/token/renew-accessor"    { capabilities = ["update"] }
path "auth/token/revoke-accessor"   { capabilities = ["update"] }
path "sys/leases/renew"             { capabilities = ["update"] }
"""
LOGIN = """
path "database/creds/jump-%s" { capabilities = ["read"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
"""
GROUP = """
SELECT format('CREATE ROLE %I NOLOGIN', :'group')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'group') \\gexec
"""
CREATE = """
CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE "jump-%s";
"""
REVOKE = """
ALTER ROLE "{{name}}" NOLOGIN;
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}';
REASSIGN OWNED BY "{{name}}" TO CURRENT_USER;
DROP OWNED BY "{{name}}";
DROP ROLE "{{name}}";
"""


def prepare_database() -> None:
    """A role for each group, with its rights: so logins that begin together change nothing that they share."""
    environment = {**os.environ, **{name: SETTINGS[name] for name in ("PGHOST", "PGPORT", "PGDATABASE")}}
    for name, group in groups().items():
        line = ["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-v", f"group=jump-{name}"]
        subprocess.run(line, input=GROUP + group["database"], env=environment, text=True, check=True)


async def prepare_vault(vault: Vault) -> None:
    """A database engine with a role for each group, and a kind of token for logins."""
    if "database/" not in (await vault.call("GET", "sys/mounts"))["data"]:
        await vault.call("POST", "sys/mounts/database", {"type": "database"})
    await vault.call(
        "POST",
        "database/config/jump",
        {
            "plugin_name": "postgresql-database-plugin",
            "allowed_roles": "jump-*",
            "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{DATABASE}",
            "username_template": 'jump-{{.DisplayName | replace "token-jump-" "" | truncate 30}}-{{random 12}}',
            "username": os.environ.get("PGUSER", "postgres"),
            "password": os.environ["PGPASSWORD"],
        },
    )
    for name in groups():
        statements = {"creation_statements": CREATE % name, "revocation_statements": REVOKE}
        times = {"default_ttl": f"{TTL}s", "max_ttl": LONGEST}
        await vault.call("POST", f"database/roles/jump-{name}", {"db_name": "jump", **statements, **times})
        await vault.call("PUT", f"sys/policies/acl/jump-login-{name}", {"policy": LOGIN % name})
    await vault.call("PUT", "sys/policies/acl/jump-broker", {"policy": BROKER})
    await vault.call(
        "POST",
        "auth/token/roles/jump-login",
        {
            "allowed_policies_glob": ["jump-login-*"],
            "token_no_default_policy": True,  # it would let users renew their tokens themselves
            "token_explicit_max_ttl": LONGEST,
            "renewable": True,
        },
    )


async def main() -> None:
    DIRECTORY.mkdir(mode=0o700, parents=True, exist_ok=True)
    (DIRECTORY / "recordings").mkdir(mode=0o700, exist_ok=True)
    prepare_database()
    async with session() as http:
        vault = Vault(http, SETTINGS["VAULT_ADDR"], os.environ["VAULT_TOKEN"])
        await prepare_vault(vault)
        if not (DIRECTORY / "broker-token").exists():
            wanted = {"policies": ["jump-broker"], "period": "24h", "no_parent": True, "display_name": "jump-broker"}
            keep("broker-token", (await vault.call("POST", "auth/token/create", wanted))["auth"]["client_token"])
    if not (DIRECTORY / "hook-secret").exists():
        keep("hook-secret", secrets.token_urlsafe(32))
    if not (DIRECTORY / "users.yaml").exists():
        keep("users.yaml", "users: {}\n")
    keep("config.yaml", yaml.safe_dump(configuration(), sort_keys=False))
    print(f"ready: {DIRECTORY}")


def configuration() -> dict[str, object]:
    """config.yaml with the addresses and secrets of this machine."""
    config: dict[str, object] = yaml.safe_load((HERE / "config.yaml").read_text())
    broker, secret = f"http://{SETTINGS['JUMP_BROKER']}", (DIRECTORY / "hook-secret").read_text()
    for path, value in {
        "ssh.listen": f"127.0.0.1:{SETTINGS['JUMP_PORT']}",
        "auth.users.file": str(DIRECTORY / "users.yaml"),
        "auth.keyboardInteractive.oauth2.clientId": SETTINGS["JUMP_OIDC_CLIENT"],
        "auth.keyboardInteractive.oauth2.clientSecret": SETTINGS["JUMP_OIDC_SECRET"],
        "auth.keyboardInteractive.oauth2.oidc.url": SETTINGS["JUMP_OIDC_URL"],
        "auth.authz.webhook.url": broker,
        "auth.authz.webhook.secret": secret,
        "configserver.url": f"{broker}/config",
        "configserver.secret": secret,
        "audit.file.directory": str(DIRECTORY / "recordings"),
        "state.directory": str(DIRECTORY / "state"),
    }.items():
        *sections, key = path.split(".")
        section = config
        for name in sections:
            section = section[name]  # type: ignore[assignment]
        section[key] = value
    return config


asyncio.run(main())
