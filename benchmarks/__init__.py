"""Measurements: every module has `measure()`, which returns figures by name. Nothing here gates."""
