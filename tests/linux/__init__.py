# SPDX-License-Identifier: MIT
# Debian's Linux as a guest.
