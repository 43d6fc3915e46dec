"""The configuration: what may be said, where it comes from, and what is wrong with it."""

from pydantic import BaseModel


class AppConfig(BaseModel):
    """The whole configuration."""
