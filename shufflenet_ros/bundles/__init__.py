"""The bundle format: find, read and trust model files. Importing this package loads no runtime."""
