# SPDX-License-Identifier: Apache-2.0
"""The command `shufflenet-ros`: one module a verb, which parses, calls and prints."""
