"""Which clients the suite drives, and what it promises for each.

A promise that no test has kept is an error when the page is made, and so is a result that nothing here promises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

COLUMNS: Final = {
    "password": "Password",
    "key": "Key",
    "exec": "Commands",
    "status": "Exit status",
    "input": "End of input",
    "terminal": "Terminal",
    "stream": "Stream, both ways",
    "files": "Files, both ways",
}
"""The columns of the page by the words that tests record."""

LIBRARY: Final = "password key exec status input terminal stream files"


@dataclass(frozen=True)
class Entry:
    """One client: its name, the columns it fills, what else it does, and how much it moves."""

    name: str
    does: frozenset[str]
    more: tuple[str, ...] = ()
    amount: str = "100 MB"

    @property
    def promised(self) -> frozenset[str]:
        """All that tests have to show."""
        return self.does | frozenset(self.more)


def _entry(name: str, does: str, *more: str, amount: str = "100 MB") -> Entry:
    return Entry(name, frozenset(does.split()), more, amount)


ROSTER: Final = {
    entry.name: entry
    for entry in (
        _entry("OpenSSH ssh", "password key exec status input terminal stream", "shared connection", "`-N`"),
        _entry("OpenSSH scp", "password key status files", "over SFTP", "`-O`"),
        _entry("OpenSSH sftp", "password key status files", "batch"),
        _entry("Dropbear dbclient", "password key exec status input terminal stream"),
        _entry("PuTTY plink", "password key exec status input terminal stream"),
        _entry("PuTTY pscp", "password key status files", "`-sftp`", "`-scp`", amount="20 MB"),
        _entry("PuTTY psftp", "password key status files", "batch"),
        _entry("autossh", "key exec status"),
        _entry("rsync", "key status files", "delete", amount="20 MB"),
        _entry("git", "key status files", "clone", "push", amount="20 MB"),
        _entry("sshfs", "key files", "rename", "delete", amount="20 MB"),
        _entry("lftp", "key files", "mirror", amount="20 MB"),
        _entry("curl", "password key files", "list", amount="20 MB"),
        _entry("paramiko", LIBRARY, "rename", amount="20 MB"),
        _entry("asyncssh", LIBRARY, "rename", amount="20 MB"),
        _entry("libssh2 (ssh2-python)", LIBRARY, "rename", amount="20 MB"),
        _entry("libssh (ssh-python)", LIBRARY, "rename", amount="20 MB"),
        _entry("Go x/crypto/ssh", LIBRARY, "rename", amount="20 MB"),
        _entry("Node ssh2", LIBRARY, "rename", amount="20 MB"),
        _entry("sshj", LIBRARY, "rename", amount="20 MB"),
        _entry("JSch", LIBRARY, "rename", amount="20 MB"),
        _entry("Apache MINA SSHD", LIBRARY, "rename", amount="20 MB"),
        _entry("Rust russh", "password key exec status input terminal stream", amount="20 MB"),
        _entry("Ansible", "key status files", "`pipelining`", "`sftp`", amount="playbook"),
        _entry("VS Code Remote (pattern)", "key exec input", "long-lived server"),
        _entry("JetBrains Gateway (pattern)", "key exec files", "long-lived server", amount="20 MB"),
    )
}
