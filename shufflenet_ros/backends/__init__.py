"""Open a bundle, prove it, run it. Importing this room loads no runtime."""
