"""Who may log in: users in a file, webhooks, and the chain that makes one authenticator of them."""
