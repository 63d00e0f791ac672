"""Open a bundle, prove it, run it."""
