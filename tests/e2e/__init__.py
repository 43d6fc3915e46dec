"""Real programs against a real server process."""
