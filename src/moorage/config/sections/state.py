"""``state``: what the server keeps between two starts."""

from moorage.config.section import Section


class StateConfig(Section):
    """What the server keeps between two starts. An addition."""

    directory: str = ""
    """Holds generated host keys, the agent and sockets. Empty: `$STATE_DIRECTORY`, else `/var/lib/moorage` for root and
    `~/.local/state/moorage` for others."""
