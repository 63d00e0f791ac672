# SPDX-License-Identifier: Apache-2.0
"""Training: from a recipe and a labeled dataset to a run folder. `export` makes a bundle from it."""
