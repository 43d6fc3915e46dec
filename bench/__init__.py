"""Side-by-side benchmarks: Moorage, OpenSSH's server and the engine's raw API, in one run."""
