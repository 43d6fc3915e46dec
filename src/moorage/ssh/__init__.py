"""The SSH side of the gateway: the only room that knows asyncssh's server."""
