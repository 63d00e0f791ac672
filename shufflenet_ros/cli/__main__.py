"""`python -m shufflenet_ros.cli`: the same as the command `shufflenet-ros`."""

import sys

from shufflenet_ros.cli.main import main

sys.exit(main())
