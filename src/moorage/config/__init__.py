"""The configuration: what may be said, where it comes from, and what is wrong with it."""

from moorage.config.loading import Loaded, load, load_text
from moorage.config.problems import ConfigProblems, ConfigWarning, Place, Problem
from moorage.config.sections.root import AppConfig

__all__ = ["AppConfig", "ConfigProblems", "ConfigWarning", "Loaded", "Place", "Problem", "load", "load_text"]
