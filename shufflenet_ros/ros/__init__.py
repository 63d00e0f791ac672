"""The node as a ROS 2 user sees it. The only room that imports rclpy."""
