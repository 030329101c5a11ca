#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Counts to ten, one number a second: each line is a message."""
import time

for n in range(1, 11):
    print(n, flush=True)  # a pipe is buffered: without flush, all ten would come at the end
    time.sleep(1)
