# SPDX-License-Identifier: Apache-2.0
"""Training: a recipe and a labeled data set in, a run folder out. `export` makes a bundle of it."""
