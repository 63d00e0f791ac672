"""Read ROS 1 and ROS 2 bags as messages with time stamps, write small ROS 2 bags. No ROS needed."""
