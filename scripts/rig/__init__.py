# SPDX-License-Identifier: Apache-2.0
"""The node in a process of its own, and a ROS node that watches it: what demo and benchmarks share."""
