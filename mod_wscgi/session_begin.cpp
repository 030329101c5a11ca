// SPDX-License-Identifier: BSD-3-Clause
// One client and who answers it: from the request to the open session, or to its refusal.
#include <sys/random.h>

#include <array>

#include "lighty/client_stream.h"
#include "lighty/compat.h"
#include "lighty/options.h"
#include "lighty/physical_path.h"
#include "mod_wscgi/environment.h"
#include "mod_wscgi/frame_relay.h"
#include "mod_wscgi/framings.h"
#include "mod_wscgi/message_relay.h"
#include "mod_wscgi/packet.h"
#include "mod_wscgi/scratch.h"
#include "mod_wscgi/session.h"

namespace wscgi {
namespace {

// Bytes of a program's header, at most.
constexpr size_t longest_header = 16 * 1024;

std::string random_id() {
    std::array<uint8_t, 16> bits;
    if (getrandom(bits.data(), bits.size(), 0) != static_cast<ssize_t>(bits.size())) abort();
    std::string id;
    for (const uint8_t byte : bits) {
        id += "0123456789abcdef"[byte >> 4];
        id += "0123456789abcdef"[byte & 15];
    }
    return id;
}

// CGI's SCRIPT_NAME is what names the program, PATH_INFO what follows.
void split_path(request_st* r, const Endpoint& endpoint) {
    if (!endpoint.prefix.starts_with('/')) return;  // found by its file: lighttpd has split it
    const std::string_view path = lighty::view(r->uri.path);
    const std::string_view name = script_name(endpoint, path);
    buffer_copy_string_len(&r->pathinfo, path.data() + name.size(), path.size() - name.size());
    buffer_truncate(&r->uri.path, static_cast<uint32_t>(name.size()));
}

std::unique_ptr<Relay> make_relay(const Endpoint& endpoint, const Answer& answer,
                                  ClientOutput& output, ws::DeflatePool& pool) {
    if (endpoint.framing == FramingKind::websocket)
        return std::make_unique<FrameRelay>(
            FrameRelayOptions{endpoint.idle_timeout, endpoint.max_age}, output, log_monotonic_secs);
    MessageRelayOptions options;
    options.limits.max_message = endpoint.max_message;
    if (endpoint.framing == FramingKind::packet)
        options.limits.max_message = std::min(endpoint.max_message, max_packet);
    options.ping_interval = endpoint.ping_interval;
    options.pong_timeout = endpoint.pong_timeout;
    options.close_timeout = endpoint.close_timeout;
    options.idle_timeout = endpoint.idle_timeout;
    options.max_age = endpoint.max_age;
    options.message_rate = endpoint.message_rate;
    options.message_burst = endpoint.message_burst;
    options.close_codes = endpoint.close_codes;
    options.deflate = answer.deflate;
    return std::make_unique<MessageRelay>(make_framing(endpoint), options, output, &pool,
                                          log_monotonic_secs);
}

}  // namespace

Session::Session(request_st* r, Service& service, std::vector<std::string> command, Common& common)
    : r_(r),
      con_(r->con),
      service_(service),
      command_(std::move(command)),
      common_(common),
      id_(random_id()),
      address_(lighty::client_address(r)),
      opening_(std::make_unique<Opening>()),
      began_(log_monotonic_secs) {
    ++service_.sessions;
    ++service_.sessions_of_address[address_];
    count("wscgi.sessions");
}

Session::~Session() {
    --service_.sessions;
    if (--service_.sessions_of_address[address_] == 0) service_.sessions_of_address.erase(address_);
    count("wscgi.sessions", -1);
    common_.traffic += traffic();
    if (relay_) log_end();
}

bool Session::program_answers() const {
    return service_.headers || service_.framing == FramingKind::websocket;
}

// What is wrong with the request is said to the client too; what is wrong here is not its business.
handler_t Session::refuse(int status, std::string_view counter, const std::string& reason) {
    log_error(r_->conf.errh, __FILE__, __LINE__, "wscgi %s: %s %s refused with %d: %s", id_.c_str(),
              address_.c_str(), r_->target_orig.ptr, status, reason.c_str());
    count("wscgi.refused." + std::string(counter));
    stage_ = Stage::ended;
    relay_.reset();
    backend_.reset();
    return lighty::refuse(r_, status, status < 500 ? reason + "\n" : "");
}

handler_t Session::begin() {
    opening_->answer = service_.framing == FramingKind::websocket && is_websocket_request(r_)
                           ? check_origin_and_body(r_, service_)
                           : answer(r_, service_);
    if (!opening_->answer.accepted()) {
        set_fields(r_, opening_->answer);
        return refuse(opening_->answer.status,
                      opening_->answer.status == 403 ? "origin" : "handshake",
                      opening_->answer.reason);
    }
    if (service_.sessions > service_.max_sessions)
        return refuse(503, "max-sessions", "\"max-sessions\" are running already");
    if (service_.sessions_of_address[address_] > service_.max_per_address)
        return refuse(429, "max-per-address", "too many sessions from this address");
    if (lighty::find_physical_path(r_) != HANDLER_GO_ON)
        return refuse(r_->http_status >= 300 ? r_->http_status : 500, "other-module",
                      "refused by another module");
    split_path(r_, service_);
    backend_ = make_backend();
    stage_ = Stage::starting;
    return start();
}

std::unique_ptr<Backend> Session::make_backend() {
    switch (service_.model) {
        case Model::daemon:
            return std::make_unique<DaemonConnection>(service_, service_.daemons, con_->srv,
                                                      program_ready, this);
        case Model::shared:
            return std::make_unique<Seat>(*service_.shared, this, service_.grace);
        case Model::session:
            break;
    }
    return std::make_unique<Program>(service_, command_, common_.programs, &common_.starter,
                                     con_->srv, program_ready, this, "wscgi " + id_ + " stderr");
}

handler_t Session::start() {
    if (!backend_->may_start()) return await_start();
    std::string error;
    if (!std::exchange(opening_->described, true))
        error = fill_environment(opening_->environment, r_, service_, id_, opening_->answer);
    if (!error.empty()) return refuse(400, "handshake", error);
    switch (backend_->start(opening_->environment, error)) {
        case Backend::Start::failed:
            return service_.model == Model::daemon ? refuse(503, "no-daemon", error)
                                                   : refuse(500, "no-program", error);
        case Backend::Start::pending:
            return await_start();
        case Backend::Start::ready:
            break;
    }
    relay_ = make_relay(service_, opening_->answer, *this, common_.deflate);
    if (!program_answers()) return upgrade();
    stage_ = Stage::answering;
    backend_->watch_output(true);
    return read_answer();
}

handler_t Session::await_start() {
    // A connection to a daemon has a bound of its own.
    if (service_.model == Model::daemon ||
        log_monotonic_secs - began_ <= service_.handshake_timeout)
        return HANDLER_WAIT_FOR_EVENT;
    return refuse(504, "handshake-timeout", "program was not started within \"handshake-timeout\"");
}

handler_t Session::read_answer() {
    backend_->flush();
    const size_t size = backend_->read(scratch);
    unframed_.insert(unframed_.end(), scratch.data(), scratch.data() + size);

    std::span<uint8_t> bytes(unframed_);
    ProgramHeaders headers;
    std::string error;
    switch (read_program_headers(bytes, headers, error)) {
        case HeadersResult::malformed:
            return refuse(502, "program-header", "program's header: " + error);
        case HeadersResult::incomplete:
            if (backend_->output_ended())
                return refuse(502, "program-header", "program ended within its header");
            if (unframed_.size() > longest_header)
                return refuse(502, "program-header", "program's header has no end");
            if (log_monotonic_secs - began_ <= service_.handshake_timeout)
                return HANDLER_WAIT_FOR_EVENT;
            return refuse(504, "handshake-timeout",
                          "program printed no header within \"handshake-timeout\"");
        case HeadersResult::complete:
            break;
    }
    const handler_t verdict = judge_answer(headers);
    if (stage_ == Stage::ended) return verdict;
    unframed_.erase(unframed_.begin(), unframed_.end() - static_cast<ptrdiff_t>(bytes.size()));
    return upgrade();
}

// A program that leaves the handshake to us need not give a status.
handler_t Session::judge_answer(const ProgramHeaders& headers) {
    set_program_fields(r_, headers);
    const bool optional = service_.framing != FramingKind::websocket;
    if (headers.status == 101 || headers.status == opening_->answer.status) return HANDLER_GO_ON;
    if (optional && (headers.status == 0 || headers.status == 200)) return HANDLER_GO_ON;
    if (headers.status == 0) return refuse(502, "program-header", "program's header has no Status");
    if (headers.status < 300)
        return refuse(502, "program-header", "program's status is no answer to an upgrade");
    return refuse(headers.status, "by-program", "refused by the program");
}

handler_t Session::upgrade() {
    set_fields(r_, opening_->answer);
    // Read as much at a time as is there, and as the queue takes without a temporary file.
    r_->conf.stream_request_body &= static_cast<unsigned short>(~FDEVENT_STREAM_REQUEST_BUFMIN);
    r_->conf.stream_request_body |= FDEVENT_STREAM_REQUEST;
    http_response_upgrade_read_body_unknown(r_);
    lighty::hold_window(r_);
    chunkqueue_append_chunkqueue(&r_->reqbody_queue, &r_->read_queue);
    // A session may be silent for as long as its own bounds allow. We ask a client whether it lives
    // ourselves, unless its program speaks to it in frames that we do not know: then lighttpd ends
    // what is not read.
    r_->conf.max_read_idle = 0xffff;
    if (service_.framing != FramingKind::websocket) r_->conf.max_write_idle = 0xffff;
    r_->http_status = opening_->answer.status;
    r_->resp_body_started = 1;
    opening_.reset();
    stage_ = Stage::open;
    return relay();
}

}  // namespace wscgi
