"""What the tests of Moorage and of its extensions need: conformance suites, failing actors, recorders."""
