#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Reads names and greets each. "read" returns false at the end of stdin: the client has gone.
while IFS= read -r name; do
    printf 'Hello, %s!\n' "$name"
done
