"""Building and checking the ways to log in loads none of the heavy libraries."""

from __future__ import annotations

import subprocess
import sys


def test_making_a_chain_of_webhooks_loads_no_heavy_library() -> None:
    program = """
import sys
from moorage.auth.chain import AuthChain
from moorage.auth.configserver import config_source
from moorage.config import load_text
hook = "{method: webhook, webhook: {url: 'http://127.0.0.1:9'}}"
text = f"auth: {{password: {hook}, publicKey: {hook}, authz: {hook}}}\\nconfigserver: {{url: 'http://127.0.0.1:9'}}\\n"
config = load_text(text, "config.yaml", built_only=False, look_at_files=False).config
AuthChain(config)
config_source(config)
print(*sorted({"aiohttp", "asyncssh", "argon2", "bcrypt", "cryptography"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""
