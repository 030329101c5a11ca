#!/usr/bin/perl
# SPDX-License-Identifier: BSD-3-Clause
# A daemon that echoes to many clients in one process: model "daemon", framing "stream".
#
# STDIN is a listening socket. Nothing blocks: select(2) tells which socket is ready, and what a
# client does not read yet is kept for it; while it is too much, that client is not read either.
use strict;
use warnings;
use Errno qw(EAGAIN EINTR);
use IO::Handle;
use IO::Select;

use constant ENOUGH => 256 * 1024;    # bytes kept for one client

local $SIG{PIPE} = 'IGNORE';
STDIN->blocking(0);                   # another process may have been quicker to accept
my $readable = IO::Select->new(\*STDIN);
my $writable = IO::Select->new;
my %kept;                             # for each client: what it has not read yet
my %ended;                            # those that will send nothing more

sub passes { return $! == EAGAIN || $! == EINTR }

sub leave {
    my ($client) = @_;
    $_->remove($client) for $readable, $writable;
    delete $_->{$client} for \%kept, \%ended;
    close $client;
}

sub read_from {
    my ($client) = @_;
    my $size = sysread $client, $kept{$client}, 65536, length $kept{$client};
    return leave($client) if !defined $size && !passes();
    $ended{$client} = 1 if defined $size && $size == 0;
    return write_to($client);
}

sub write_to {
    my ($client) = @_;
    my $size = length $kept{$client} ? syswrite $client, $kept{$client} : 0;
    return leave($client) if !defined $size && !passes();
    substr $kept{$client}, 0, $size // 0, '';
    my $left = length $kept{$client};
    return leave($client) if $ended{$client} && !$left;
    $left ? $writable->add($client) : $writable->remove($client);
    return $ended{$client} || $left >= ENOUGH ? $readable->remove($client) : $readable->add($client);
}

while (1) {
    my ($to_read, $to_write) = IO::Select->select($readable, $writable) or next;
    for my $ready (@$to_read) {
        if ($ready != \*STDIN) { read_from($ready) if exists $kept{$ready}; next }
        accept(my $client, STDIN) or next;
        $client->blocking(0);
        $kept{$client} = '';
        $readable->add($client);
    }
    for my $ready (@$to_write) { write_to($ready) if exists $kept{$ready} }
}
