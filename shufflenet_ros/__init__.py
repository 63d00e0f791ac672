# SPDX-License-Identifier: Apache-2.0
"""shufflenet_ros: ShuffleNet on camera topics. Importing it loads nothing: pick a room."""

__version__ = '0.1.0'
