"""Logging in with Kerberos 5: tickets, and passwords that a KDC checks."""
