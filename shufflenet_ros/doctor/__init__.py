# SPDX-License-Identifier: Apache-2.0
"""Why no results come: checks of this machine, of the model, of ROS and of the running node."""
