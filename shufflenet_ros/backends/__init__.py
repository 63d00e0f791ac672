"""Open a bundle, verify it, run it. Importing this room loads no runtime."""
