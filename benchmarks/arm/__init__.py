"""Retired ARM instructions of one inference, counted on any Linux machine under qemu-user."""
