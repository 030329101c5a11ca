#!/usr/bin/perl
# SPDX-License-Identifier: BSD-3-Clause
# Sends its environment, a message for each variable.
use strict;
use warnings;

print "$_=$ENV{$_}\n" for sort keys %ENV;
