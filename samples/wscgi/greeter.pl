#!/usr/bin/perl
# SPDX-License-Identifier: BSD-3-Clause
# Reads names and greets each. The loop ends at the end of stdin: the client has gone.
use strict;
use warnings;

$| = 1;    # a pipe is buffered: send each greeting at once
while (my $name = <STDIN>) {
    chomp $name;
    print "Hello, $name!\n";
}
