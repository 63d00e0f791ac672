# SPDX-License-Identifier: Apache-2.0
"""HTML pages: one builder for all pages of the project. Knows nothing of ROS and of models."""
