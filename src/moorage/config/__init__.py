"""The configuration: what may be said, where it comes from, and what is wrong with it.

`load` reads a file, `overlay` lays a webhook's answer over it for one login, `dump` writes
it down.  What cannot be used is a `ConfigProblems` with all the reasons.
"""

from moorage.config.disk import is_inline_pem, read_pem
from moorage.config.loading import Loaded, load, load_text
from moorage.config.merging import overlay
from moorage.config.problems import ConfigProblems, ConfigWarning, Place, Problem
from moorage.config.rendering import dump
from moorage.config.sections.root import AppConfig

__all__ = [
    "AppConfig",
    "ConfigProblems",
    "ConfigWarning",
    "Loaded",
    "Place",
    "Problem",
    "dump",
    "is_inline_pem",
    "load",
    "load_text",
    "overlay",
    "read_pem",
]
