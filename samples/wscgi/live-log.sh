#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Follows the file $LOG, also through its rotation. One process for all who look: model "shared".
#
# Nobody has anything to say to it. With stdin closed the server knows, and drops what comes;
# a full pipe that nobody empties would stop all clients.
exec tail -n 0 -F -- "$LOG" </dev/null
