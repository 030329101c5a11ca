// SPDX-License-Identifier: BSD-3-Clause
// From a request to a record on the queue.
#include "mod_fd_transfer/handoff.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lighty/compat.h"
#include "mod_fd_transfer/request_body.h"
#include "mod_fd_transfer/request_head.h"
#include "mod_fd_transfer/transfer.h"

namespace fd_transfer {
namespace {

using Outcome = Service::Outcome;

// What has been read of this connection and not been used, in one piece. Valid until the queue
// changes or the next call.
std::string_view read_bytes(const chunkqueue& queue) {
    static std::string gathered;
    const chunk* const c = queue.first;
    if (c && !c->next) return {c->mem->ptr + c->offset, buffer_clen(c->mem) - size_t(c->offset)};
    gathered.clear();
    for (const chunk* part = c; part; part = part->next)
        gathered.append(part->mem->ptr + part->offset,
                        buffer_clen(part->mem) - size_t(part->offset));
    return gathered;
}

// True if the client's request line holds a fragment. lighttpd accepts only methods that it knows,
// so a `#` can only be in the target.
bool has_fragment(std::string_view head) {
    return head.substr(0, head.find('\n')).find('#') != head.npos;
}

// The client's own socket, and neither TLS nor a stream of HTTP/2, can be handed over.
bool transferable(const request_st* r) {
    return lighty::can_forward(r) && has_transferable_method(r);
}

// What the access log can show: %{FD_TRANSFER_SERVICE}e and %{FD_TRANSFER_QUEUE}e.
void note_for_log(request_st* r, const Service& service) {
    const std::string& prefix = service.settings().prefix;
    const std::string queued = std::to_string(service.queued_bytes());
    http_header_env_set(r, CONST_STR_LEN("FD_TRANSFER_SERVICE"), prefix.data(),
                        uint32_t(prefix.size()));
    http_header_env_set(r, CONST_STR_LEN("FD_TRANSFER_QUEUE"), queued.data(),
                        uint32_t(queued.size()));
}

// From now on nothing that the server does with the connection touches the client's socket: what
// it shuts down and closes is an unconnected dummy in its place.
void detach(connection* con, const PluginData* p) {
    fdevent_fdnode_event_del(con->srv->ev, con->fdn);
    if (dup3(p->transfer->unconnected(), con->fd, O_CLOEXEC) < 0)
        log_perror(con->srv->errh, __FILE__, __LINE__, "fd-transfer: dup3()");
}

// The way out where the server cannot forward a connection.
handler_t leave_detached(request_st* r, const PluginData* p) {
    detach(r->con, p);
    chunkqueue_reset(r->con->read_queue);
    r->keep_alive = 0;
    return HANDLER_ERROR;
}

// The socket is the worker's now, and what the access log shows of the request is settled.
handler_t leave(request_st* r, const PluginData* p) {
    return lighty::forward(r) ? HANDLER_WAIT_FOR_EVENT : leave_detached(r, p);
}

Pending& make_pending(request_st* r, const PluginData* p, Service& service) {
    auto* const pending = new Pending(r, service, log_monotonic_secs);
    r->plugin_ctx[p->id] = pending;
    return *pending;
}

// A module may make lighttpd begin anew with a request that we have claimed.
void drop_claim(request_st* r, const PluginData* p) {
    auto* const pending = static_cast<Pending*>(r->plugin_ctx[p->id]);
    if (!pending) return;
    pending->service->forget(*pending);
    delete pending;
    r->plugin_ctx[p->id] = nullptr;
}

handler_t answer_refused(Pending& pending) {
    const int status = pending.status;
    if (status != 502) ++pending.service->statistics()[Statistics::refused];
    return lighty::refuse(pending.request, status);
}

handler_t refuse(Pending& pending, int status) {
    pending.status = status;
    pending.apply(HandoffEvent::refuse);
    return answer_refused(pending);
}

handler_t wait(Pending& pending) {
    return pending.service->enqueue(pending) ? HANDLER_WAIT_FOR_EVENT : refuse(pending, 503);
}

// If there will be other requests, leave the event loop's interest in the client as it is: to
// change it and to change it back would cost two system calls. Mostly the client sends nothing
// before it is answered; that it leaves must be noticed.
void keep_interest(connection* con) {
    con->is_readable = fdevent_fdnode_interest(con->fdn) == FDEVENT_RDHUP ? 0 : -1;
}

// The worker has the connection too: lighttpd keeps it, and does nothing with it.
handler_t stay(Pending& pending, const PluginData* p) {
    request_st* const r = pending.request;
    connection* const con = r->con;
    if (!pending.settled) {
        pending.settled = true;
        if (p->transfer->logged()) note_for_log(r, *pending.service);
        drop_body(r);
        if (r->keep_alive > 0)
            keep_interest(con);
        else  // nothing that happens to the connection is of interest
            fdevent_fdnode_event_del(con->srv->ev, con->fdn);
    } else if (con->is_readable > 0 && !pending.client_spoke) {
        // It has been answered, and the worker's word is on its way. Do not turn away yet.
        pending.client_spoke = true;
        con->is_readable = -1;
    }
    return HANDLER_WAIT_FOR_EVENT;
}

// First attempt to hand over a request.
handler_t hand_over(Pending& pending, const PluginData* p) {
    if (pending.service->down()) return refuse(pending, 503);
    if (pending.service->busy()) return wait(pending);
    switch (send_pending(pending)) {
        case Outcome::sent:
            pending.apply(HandoffEvent::sent);
            if (p->transfer->logged()) note_for_log(pending.request, *pending.service);
            pending.service->log_leaving(pending);
            return leave(pending.request, p);
        case Outcome::held:
            pending.service->hold(pending);
            return stay(pending, p);
        case Outcome::too_big:
            return refuse(pending, 413);
        case Outcome::unreadable:
            return refuse(pending, 500);
        case Outcome::full:
            break;
    }
    return wait(pending);
}

// Reads what must be read of the request, and writes its head. HANDLER_GO_ON: it can be handed
// over.
handler_t prepare(Pending& pending) {
    request_st* const r = pending.request;
    const BodyResult body = read_body(r, pending.service->settings());
    switch (body.state) {
        case BodyRead::ready:
            return write_head(r, pending.data) ? HANDLER_GO_ON : refuse(pending, 400);
        case BodyRead::refused:
            return refuse(pending, body.status);
        case BodyRead::waiting:
        case BodyRead::ended:
            break;
    }
    return body.result;
}

// Until its head is written, `data` holds the target that the request was claimed for.
bool was_sent_on(const Pending& pending) {
    return std::string_view(pending.data) != lighty::view(pending.request->target);
}

// A module after us has given it another target (a Lua script that returns RESTART_REQUEST). Older
// versions of lighttpd then still consider it ours, and would not ask anybody about that target.
handler_t begin_anew(Pending& pending, const PluginData* p) {
    request_st* const r = pending.request;
    drop_claim(r, p);
    r->handler_module = nullptr;
    return HANDLER_COMEBACK;
}

// A request that was claimed. Those whose connections lighttpd keeps are handed over at the end of
// the event loop's turn, together if the workers like that: then a worker is woken once for all of
// them, not between any two.
handler_t begin(Pending& pending, const PluginData* p) {
    if (pending.service->settings().stage == Stage::uri) {  // at `raw` the head is the client's own
        if (was_sent_on(pending)) return begin_anew(pending, p);
        if (const handler_t result = prepare(pending); result != HANDLER_GO_ON) return result;
        pending.since = log_monotonic_secs;  // a slow body does not use up the deadline
    }
    pending.head_length = pending.data.size();
    if (!pending.service->keeps(pending.request->con)) return hand_over(pending, p);
    pending.service->put_off(pending);
    keep_interest(pending.request->con);
    joblist_append(pending.request->con);
    return HANDLER_WAIT_FOR_EVENT;
}

}  // namespace

uint32_t socket_index(const connection* con) {
    const server_socket_array& sockets = con->srv->srv_sockets;
    uint32_t index = 0;
    while (index < sockets.used && sockets.ptr[index] != con->srv_socket) ++index;
    return index;
}

bool gather(Pending& pending) { return append_body(pending.data, pending.request); }

void after_attempt(Pending& pending, bool held) {
    if (held)
        drop_body(pending.request);
    else
        pending.data.resize(pending.head_length);
}

Outcome send_pending(Pending& pending) {
    const Outcome outcome = gather(pending)
                                ? pending.service->send(pending.request, bytes(pending.data),
                                                        pending.head_length, pending.untaken)
                                : Outcome::unreadable;
    after_attempt(pending, outcome == Outcome::held);
    return outcome;
}

handler_t handle_request_raw(request_st* r, void* plugin_data) {
    auto* const p = static_cast<PluginData*>(plugin_data);
    Service* const service = p->transfer->service(r, Stage::raw);
    if (!service || !transferable(r)) return HANDLER_GO_ON;

    const std::string_view data = read_bytes(*r->con->read_queue);
    if (has_fragment(data)) {
        r->keep_alive = 0;  // as lighttpd does for every bad request
        return lighty::refuse(r, 400);
    }
    Outcome outcome = Outcome::full;
    Untaken sent;
    if (!service->busy() && !service->down() && !service->keeps(r->con))
        outcome = service->send(r, bytes(data), r->rqst_header_len, sent);
    if (outcome == Outcome::sent) {
        if (p->transfer->logged()) note_for_log(r, *service);
        service->log_sent(r, sent, log_monotonic_secs);
        return leave(r, p) == HANDLER_ERROR ? HANDLER_ERROR : HANDLER_FINISHED;
    }
    Pending& pending = make_pending(r, p, *service);
    if (outcome == Outcome::too_big) return refuse(pending, 413);
    // lighttpd is about to drop the head. What follows it stays in its queue.
    pending.data = data.substr(0, r->rqst_header_len);
    lighty::set_handler_module(r, p);
    return HANDLER_GO_ON;
}

handler_t handle_uri_clean(request_st* r, void* plugin_data) {
    auto* const p = static_cast<PluginData*>(plugin_data);
    if (r->handler_module || r->error_handler_saved_status || !transferable(r))
        return HANDLER_GO_ON;
    drop_claim(r, p);
    if (Service* const service = p->transfer->service(r, Stage::uri)) {
        make_pending(r, p, *service).data = lighty::view(r->target);
        lighty::set_handler_module(r, p);
    }
    return HANDLER_GO_ON;
}

handler_t handle_subrequest(request_st* r, void* plugin_data) {
    auto* const p = static_cast<PluginData*>(plugin_data);
    auto* const pending = static_cast<Pending*>(r->plugin_ctx[p->id]);
    if (!pending) return HANDLER_ERROR;
    switch (pending->state()) {
        case HandoffState::claimed:
            return begin(*pending, p);
        case HandoffState::deferred:
            pending->service->send_put_off();
            if (pending->state() == HandoffState::deferred) return hand_over(*pending, p);
            return stay(*pending, p);
        case HandoffState::waiting:
            return HANDLER_WAIT_FOR_EVENT;
        case HandoffState::kept:
        case HandoffState::lost:
            return stay(*pending, p);
        case HandoffState::acknowledged:
            pending->service->log_leaving(*pending);
            pending->service->forget(*pending);
            pending->apply(HandoffEvent::leave);
            return leave(r, p);
        case HandoffState::refused:
            return answer_refused(*pending);
        case HandoffState::broken:
            lighty::set_logged_response(r, int(pending->service->settings().log_status), 0);
            break;
        case HandoffState::left:
        case HandoffState::returned:
            break;
    }
    return HANDLER_ERROR;
}

handler_t handle_response_start(request_st* r, void* plugin_data) {
    const auto* const p = static_cast<PluginData*>(plugin_data);
    const auto* const pending = static_cast<Pending*>(r->plugin_ctx[p->id]);
    if (!pending || pending->state() != HandoffState::refused || r->http_status != 503)
        return HANDLER_GO_ON;
    const std::string seconds = std::to_string(pending->service->settings().retry_after);
    http_header_response_set(r, HTTP_HEADER_OTHER, CONST_STR_LEN("Retry-After"), seconds.data(),
                             uint32_t(seconds.size()));
    return HANDLER_GO_ON;
}

handler_t handle_request_reset(request_st* r, void* plugin_data) {
    const auto* const p = static_cast<PluginData*>(plugin_data);
    if (auto* const pending = static_cast<Pending*>(r->plugin_ctx[p->id])) {
        if (!lighty::is_ending(r->con->srv)) pending->service->log_abandoned(*pending);
        // The client has gone, or the server is stopping, or its clock has leapt; the worker may be
        // in its answer.
        if (pending->state() == HandoffState::kept || pending->state() == HandoffState::acknowledged)
            detach(r->con, p);
        drop_claim(r, p);
    }
    return HANDLER_GO_ON;
}

}  // namespace fd_transfer
