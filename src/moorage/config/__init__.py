"""The configuration: what may be said, where it comes from, and what is wrong with it."""

from moorage.config.sections.root import AppConfig

__all__ = ["AppConfig"]
