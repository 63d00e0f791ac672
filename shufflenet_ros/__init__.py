# SPDX-License-Identifier: Apache-2.0
"""shufflenet_ros: ShuffleNet on camera topics. Importing it loads nothing; import one of its packages."""

__version__ = '0.1.0'
