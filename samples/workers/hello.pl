#!/usr/bin/perl
# SPDX-License-Identifier: BSD-3-Clause
# A worker in Perl, written from doc/writing-workers.md. It answers, and returns the connection to
# lighttpd: to read a client's next request, which may be for any URL, or for its end, where a client
# may still be sending. Needs libsocket-msghdr-perl.
use strict;
use warnings;
use Fcntl qw(F_SETFD FD_CLOEXEC);
use IO::Handle;
use IO::Poll qw(POLLIN);
use POSIX ();
use Socket qw(:DEFAULT MSG_DONTWAIT MSG_NOSIGNAL SCM_RIGHTS SHUT_WR SOL_SOCKET);
use Socket::MsgHdr;

use constant { RECORD => 'a4 C C v Q< V V V V', MAGIC => 'LFDT',
    IN_MEMFD => 1, END_CONNECTION => 32, CLIENT_ADDRESS => 1 };

my $queue = IO::Handle->new_from_fd(0, 'r+') or die "hello.pl: fd 0: $!\n";

# SIGTERM is let in only while nothing is in work; then it ends the loop.
my $term = POSIX::SigSet->new(POSIX::SIGTERM);
POSIX::sigprocmask(POSIX::SIG_BLOCK, $term);
my $draining = 0;
$SIG{TERM} = sub { $draining = 1 };

# True when lighttpd has no more for us.
sub receive_one {
    # Room for one byte more than the longest record, so that a longer one is seen as such.
    my $message = Socket::MsgHdr->new(buflen => 69665, controllen => 256);
    defined recvmsg($queue, $message, MSG_DONTWAIT) or return 0;    # a sibling was faster
    my @control = $message->cmsghdr;
    my @fds;
    while (my ($level, $type, $data) = splice @control, 0, 3) {
        push @fds, unpack 'i*', $data if $level == SOL_SOCKET && $type == SCM_RIGHTS;
    }
    my $bytes = $message->buf;
    return 1 if $bytes eq '' && !@fds;
    my @owned = map { IO::Handle->new_from_fd($_, 'r+') } @fds;     # closed when they go
    fcntl $_, F_SETFD, FD_CLOEXEC for @owned;
    my $problem = answer($bytes, @owned);
    print STDERR "hello.pl: hand-off refused: $problem\n" if $problem;
    return 0;
}

# The reason if the record is refused.
sub answer {
    my ($bytes, $client, $memfd) = @_;
    return 'shorter than a header or longer than a record'
      if length $bytes < 32 || length $bytes > 69664;
    my ($magic, $version, $kind, $flags, $id, $index, $head_length, $length, $fields_length) =
      unpack RECORD, $bytes;
    return 'wrong magic, version or kind' if "$magic $version $kind" ne MAGIC . ' 2 1';
    return 'unknown flags' if $flags > 7;
    return 'wrong number of descriptors' if @_ - 1 != ($flags & IN_MEMFD ? 2 : 1);
    return 'wrong lengths' if $fields_length > length($bytes) - 32;
    my $data = substr $bytes, 32, length($bytes) - 32 - $fields_length;
    my $fields = substr $bytes, 32 + length $data;
    if ($flags & IN_MEMFD) {
        return 'wrong lengths' if $data ne '' || $length > 1 << 30;
        sysseek $memfd, 0, 0;
        sysread $memfd, $data, $length;
    }
    return 'wrong lengths' if length $data != $length || $head_length > $length || !$head_length;

    my ($head, $unread) = (substr($data, 0, $head_length), substr $data, $head_length);
    my $has_body = $head =~ /^(?:Content-Length|Transfer-Encoding):/mi;
    my $keep = !$has_body && $head =~ m{\A(?:GET|HEAD) [^\r\n]+ HTTP/1\.1\r\n}
      && $head !~ /^Connection: *close\b/mi;
    my $body = "Hello from Perl worker $$ to " . client_address($fields) . "\n";
    my $response = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
      . 'Content-Length: ' . length($body) . "\r\n"
      . ($keep ? '' : "Connection: close\r\n") . "\r\n";
    $response .= $body unless $head =~ /\AHEAD /;
    my $sent = send($client, $response, MSG_NOSIGNAL) // 0;
    return if $keep && $sent == length $response && give_back($client, $id, $index, 0, $unread);
    return if ($has_body || $unread ne '') && give_back($client, $id, $index, END_CONNECTION, '');
    shutdown $client, SHUT_WR;
    return;
}

# Of the optional fields the first that has it; the others are skipped.
sub client_address {
    my ($fields) = @_;
    while (my ($type, $value) = unpack 'v v/a', $fields) {
        return $value if $type == CLIENT_ADDRESS;
        substr($fields, 0, 4 + length $value) = '';
    }
    return 'an unknown address';
}

sub give_back {
    my ($client, $id, $index, $flags, $unread) = @_;
    my $header = pack RECORD, MAGIC, 2, 4, $flags, $id, $index, 0, length $unread, 0;
    my $message = Socket::MsgHdr->new(buf => $header . $unread);
    $message->cmsghdr(SOL_SOCKET, SCM_RIGHTS, pack 'i', fileno $client);
    return defined sendmsg($queue, $message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

my $poll = IO::Poll->new;
$poll->mask($queue => POLLIN);
until ($draining) {
    POSIX::sigprocmask(POSIX::SIG_UNBLOCK, $term);
    my $ready = $poll->poll(1);    # SIGTERM may have come just before
    POSIX::sigprocmask(POSIX::SIG_BLOCK, $term);
    last if !$draining && $ready > 0 && receive_one();
}
