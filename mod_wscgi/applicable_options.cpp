// SPDX-License-Identifier: BSD-3-Clause
// Which options mean something for which model and framing.
#include "mod_wscgi/applicable_options.h"

#include <array>

namespace wscgi {
namespace {

// The circumstances that an option needs.
enum class Needs : uint8_t {
    shared_model,
    daemon_model,
    spawned_daemons,
    program,
    host,
    our_frames,
    typed_framing,
    program_header,
    exit_status,
};

struct Rule {
    const char* option;
    Needs needs;
};

constexpr Rule rules[] = {
    {"linger", Needs::shared_model},
    {"slow", Needs::shared_model},
    {"connect-timeout", Needs::daemon_model},
    {"retry-interval", Needs::daemon_model},
    {"max-procs", Needs::spawned_daemons},
    {"arguments", Needs::program},
    {"working-directory", Needs::program},
    {"bin-environment", Needs::program},
    {"bin-copy-environment", Needs::program},
    {"limits", Needs::program},
    {"port", Needs::host},
    {"subprotocols", Needs::our_frames},
    {"deflate", Needs::our_frames},
    {"max-message", Needs::our_frames},
    {"message-rate", Needs::our_frames},
    {"message-burst", Needs::our_frames},
    {"ping-interval", Needs::our_frames},
    {"pong-timeout", Needs::our_frames},
    {"message-type", Needs::typed_framing},
    {"handshake-timeout", Needs::program_header},
    {"close-codes", Needs::exit_status},
};

struct Complaint {
    const char* what;
    const char* remedy;
};

// The order is that of Needs.
constexpr std::array<Complaint, 9> complaints = {{
    {"is for programs that sessions share", "leave it out, or set \"model\" => \"shared\""},
    {"is for daemons", "leave it out, or set \"model\" => \"daemon\""},
    {"is for daemons that lighttpd starts",
     "leave it out, or set \"model\" => \"daemon\" and \"bin-path\""},
    {"is for programs that lighttpd starts, and there is no \"bin-path\"",
     "leave it out; the daemon's own starter decides"},
    {"is for the hosts in \"host\", and there are none", "leave it out, or name a \"host\""},
    {"is the program's own business with \"framing\" => \"websocket\"",
     "leave it out, or use another framing"},
    {"is for the framings \"lines\", \"stream\" and \"packet\": the others tell text from binary",
     "leave it out"},
    {"is for programs that print a header first", "leave it out, or set \"headers\" => \"enable\""},
    {"is for programs whose exit status lighttpd sees, and which speak no frames",
     "leave it out; in the framing \"length\" a daemon can send close codes itself"},
}};

bool has(Needs needs, const Service& service, lighty::Options& options) {
    const bool is_daemon = service.model == Model::daemon;
    const bool our_frames = service.framing != FramingKind::websocket;
    switch (needs) {
        case Needs::shared_model:
            return service.model == Model::shared;
        case Needs::daemon_model:
            return is_daemon;
        case Needs::spawned_daemons:
            return is_daemon && !service.command.empty();
        case Needs::program:
            return !is_daemon || !service.command.empty();
        case Needs::host:
            return options.has("host");
        case Needs::our_frames:
            return our_frames;
        case Needs::typed_framing:
            return our_frames && service.framing != FramingKind::length;
        case Needs::program_header:
            return service.headers || !our_frames;
        case Needs::exit_status:
            return our_frames && !is_daemon;
    }
    return true;
}

}  // namespace

void check_applicable(const Service& service, lighty::Options& options) {
    for (const Rule& rule : rules) {
        if (!options.has(rule.option) || has(rule.needs, service, options)) continue;
        const Complaint& complaint = complaints[static_cast<size_t>(rule.needs)];
        options.fail(rule.option, complaint.what, complaint.remedy);
    }
    if (service.framing == FramingKind::websocket && options.has("headers") && !service.headers)
        options.fail("headers", "cannot be disabled with \"framing\" => \"websocket\"",
                     "leave it out: such a program always answers the handshake itself");
}

}  // namespace wscgi
