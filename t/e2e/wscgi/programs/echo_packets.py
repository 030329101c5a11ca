#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Echoes packets: one read is one message, and so is one write."""
import os

while packet := os.read(0, 1 << 20):
    os.write(1, packet)
