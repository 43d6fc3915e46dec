"""OpenSSH certificates: who signed them, for whom, until when, and whether they were revoked."""
