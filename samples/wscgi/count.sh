#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Counts to ten, one number a second: each line is a message.
n=1
while [ $n -le 10 ]; do
    echo $n
    n=$((n + 1))
    sleep 1
done
