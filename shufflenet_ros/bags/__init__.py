# SPDX-License-Identifier: Apache-2.0
"""Read ROS 1 and ROS 2 bags, write small ROS 2 bags. Needs rosbags, but no ROS."""
