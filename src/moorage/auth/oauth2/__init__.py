"""Logging in with an identity provider: OAuth 2.0 and OpenID Connect, spoken in questions of the SSH client."""
