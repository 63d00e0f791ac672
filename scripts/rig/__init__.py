# SPDX-License-Identifier: Apache-2.0
"""Run the node in its own process, and watch it over ROS; shared by demo and benchmarks."""
