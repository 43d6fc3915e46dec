"""Guests as containers of a Docker-compatible engine."""

from moorage.backend.docker.backend import DockerBackend

__all__ = ["DockerBackend"]
