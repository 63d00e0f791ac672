# SPDX-License-Identifier: Apache-2.0
"""Labeled images from folders, tars and bags, a model's scores on them, and frames to classify."""
