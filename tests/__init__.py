# SPDX-License-Identifier: MIT
# The test tooling, run from the root of the tree as `python3 -m tests.…`.
