# SPDX-License-Identifier: Apache-2.0
"""Model files: find, read, check and fetch them. Importing this package loads no runtime."""
