# SPDX-License-Identifier: Apache-2.0
"""`python -m shufflenet_ros.cli`: same as the command `shufflenet-ros`."""

import sys

from shufflenet_ros.cli.main import main

sys.exit(main())
