// SPDX-License-Identifier: BSD-3-Clause
// lighttpd's C headers, made fit for C++. Nothing else in this project includes them.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// C99's keyword; lighttpd's prototypes use it.
#define restrict __restrict__

extern "C" {
#include "array.h"
#include "base.h"
#include "buffer.h"
#include "chunk.h"
#include "configfile.h"
#include "connections.h"
#include "fdevent.h"
#include "http_cgi.h"
#include "http_header.h"
#include "log.h"
#include "plugin.h"
#include "plugin_config.h"
#include "plugins.h"
#include "reqpool.h"
#include "request.h"
#include "response.h"
#include "sock_addr.h"
#include "stat_cache.h"
}

#undef restrict
// ck.h of newer versions makes a macro of what is a keyword in C++.
#undef static_assert
