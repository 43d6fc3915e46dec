"""Real parts for tests: engines and guest images, started or made on first use and kept between runs."""
