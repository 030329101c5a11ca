#!/usr/bin/perl
# SPDX-License-Identifier: BSD-3-Clause
# A daemon that echoes: model "daemon", framing "stream".
#
# STDIN is a listening socket: accept on it, then read and print. One client at a time: set
# "max-procs" to have as many as there are processes, or see echo-incremental.pl.
use strict;
use warnings;
use IO::Handle;

local $SIG{PIPE} = 'IGNORE';    # a client that goes while we print must not end the daemon
while (accept(my $client, STDIN)) {
    $client->autoflush(1);
    while (sysread($client, my $bytes, 65536)) {
        print {$client} $bytes or last;
    }
}
