"""Guests as pods of a Kubernetes cluster."""

from moorage.backend.kubernetes.backend import KubernetesBackend

__all__ = ["KubernetesBackend"]
