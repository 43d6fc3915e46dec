"""Guests on an SSH server behind this one."""

from moorage.backend.sshproxy.backend import SSHProxyBackend

__all__ = ["SSHProxyBackend"]
