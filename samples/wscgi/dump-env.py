#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Sends its environment, a message for each variable."""
import os
import sys

for name, value in sorted(os.environb.items()):
    sys.stdout.buffer.write(name + b"=" + value + b"\n")
