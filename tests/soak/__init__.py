"""Long runs; ``make soak``."""
