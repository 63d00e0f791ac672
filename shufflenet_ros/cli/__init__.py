# SPDX-License-Identifier: Apache-2.0
"""The command `shufflenet-ros`: one module per verb, which parses, calls and prints."""
