"""Offline tools behind the command `shufflenet-ros`: no ROS, no torch."""
