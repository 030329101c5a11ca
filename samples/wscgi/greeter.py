#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Reads names and greets each. The loop ends at the end of stdin: the client has gone."""
import sys

sys.stdin.reconfigure(encoding="utf-8")  # whatever the server's locale is: messages are UTF-8
sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)
for name in sys.stdin:
    print(f"Hello, {name.rstrip()}!")
