#!/bin/sh
# Echoes every message: read a line, write a line.
while IFS= read -r line; do
    printf '%s\n' "$line"
done
