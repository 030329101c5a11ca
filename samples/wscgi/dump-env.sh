#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Sends its environment, a message for each variable.
env | LC_ALL=C sort
