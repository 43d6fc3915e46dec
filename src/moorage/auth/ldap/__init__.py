"""Users of an LDAP directory (RFC 4510): a small client, and what a login asks of it."""
