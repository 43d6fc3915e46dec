"""Pluggable authentication modules of the machine that Moorage runs on (Linux-PAM)."""
