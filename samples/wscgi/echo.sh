#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Echoes every message: read a line, write a line.
while IFS= read -r line; do
    printf '%s\n' "$line"
done
