#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The program of one session, in Python: sends every line back."""
import sys

for line in sys.stdin:
    sys.stdout.write(line)
    sys.stdout.flush()
