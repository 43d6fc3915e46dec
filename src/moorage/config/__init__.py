"""The configuration: what may be said, where it comes from, and what is wrong with it."""

from moorage.config.sections.root import AppConfig
from moorage.config.sections.sandbox import SandboxConfig
from moorage.config.sections.security import SecurityConfig
from moorage.config.sections.ssh import SSHConfig

__all__ = ["AppConfig", "SandboxConfig", "SecurityConfig", "SSHConfig"]
