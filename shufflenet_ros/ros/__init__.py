# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node and replay. The only package that imports rclpy."""
