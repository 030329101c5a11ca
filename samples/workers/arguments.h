// SPDX-License-Identifier: BSD-3-Clause
// The command line that the C++ samples share:
//
//     PROGRAM [--listen PATH] [--http PATH] [ARGUMENT]
//
// Without the two options connections come from fd 0 and from LISTEN_FDS. --listen: lighttpd
// connects there and sends hand-offs. --http: mod_proxy brings requests over TLS and HTTP/2. All of
// them tell how their answers ended, for the server's access log.
#pragma once

#include <fdworker.h>
#include <string.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

struct Arguments {
    fdworker::Intake intake;
    const char* argument;
};

// Ends the program, with a message, when there is nothing to serve.
inline Arguments read_arguments(int argc, char** argv, const char* argument = "",
                                fdworker::Delivery delivery = fdworker::Delivery::single) {
    Arguments read{fdworker::Intake(delivery, fdworker::Reports::done), argument};
    for (int i = 1; i < argc; ++i) {
        const bool handoffs = strcmp(argv[i], "--listen") == 0;
        if (!handoffs && strcmp(argv[i], "--http") != 0) {
            read.argument = argv[i];
            continue;
        }
        const char* const path = i + 1 < argc ? argv[++i] : "";
        const auto status = handoffs ? read.intake.listen_for_handoffs(path)
                                     : read.intake.listen_for_connections(path);
        if (status == fdworker::Status::ok) continue;
        std::fprintf(stderr, "%s: cannot listen at '%s': %m\n", argv[0], path);
        std::exit(2);
    }
    if (read.intake.empty()) {
        std::fprintf(stderr,
                     "%s: nothing to serve: fd 0 is no SOCK_SEQPACKET socket. Let lighttpd or "
                     "fdworker-cat start this program, or give it --listen PATH.\n",
                     argv[0]);
        std::exit(2);
    }
    return read;
}
