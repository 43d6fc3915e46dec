"""Byte streams, TLS, HTTP and limits: everything that touches a network and knows nothing of SSH."""
