#!/usr/bin/perl
# SPDX-License-Identifier: BSD-3-Clause
# Counts to ten, one number a second: each line is a message.
use strict;
use warnings;

$| = 1;    # a pipe is buffered: without this, all ten would come at the end
for my $n (1 .. 10) {
    print "$n\n";
    sleep 1;
}
