"""Real clients against a real server: what each can do, and the page that says so."""
