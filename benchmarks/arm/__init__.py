# SPDX-License-Identifier: Apache-2.0
"""Count the ARM instructions of one inference, on any Linux machine, with qemu-user."""
