// SPDX-License-Identifier: BSD-3-Clause
// A service: its queue in lighttpd's event loop, and the requests that wait for room in it.
#include "mod_fd_transfer/service.h"

#include <errno.h>

#include "mod_fd_transfer/handoff.h"

namespace fd_transfer {

struct Service::Line {
    Service* service;
    Channel channel;
    fdnode* node;
};

Service::Service(Settings settings, server* srv)
    : settings_(std::move(settings)),
      srv_(srv),
      statistics_(settings_.prefix),
      backlog_(size_t(settings_.backlog), settings_.deadline) {}

Service::~Service() { close(); }

bool Service::open() {
    Channel channel = Channel::create(int(settings_.queue_bytes));
    if (!channel.open()) return false;
    auto line = std::make_unique<Line>(Line{this, std::move(channel), nullptr});
    line->node = fdevent_register(srv_->ev, line->channel.fd(), on_event, line.get());
    fdevent_fdnode_event_set(srv_->ev, line->node, FDEVENT_IN);
    ++srv_->cur_fds;
    lines_.push_back(std::move(line));
    return true;
}

void Service::close() {
    for (const auto& line : lines_) {
        fdevent_fdnode_event_del(srv_->ev, line->node);
        fdevent_unregister(srv_->ev, line->node);
        --srv_->cur_fds;
    }
    lines_.clear();
}

int Service::workers_fd() const {
    return lines_.empty() ? -1 : lines_.front()->channel.workers_fd();
}

Service::Outcome Service::send(request_st* r, std::span<const uint8_t> data, size_t head_length) {
    if (int64_t(data.size()) > settings_.max_record) return Outcome::too_big;
    const process::HandoffRecord record = {
        .kind = process::HandoffKind::request,
        .flags = settings_.stage == Stage::raw ? process::handoff_raw_stage : uint16_t(0),
        .id = next_id_,
        .socket_index = socket_index(r->con),
        .head_length = uint32_t(head_length)};
    for (size_t tried = 0; tried < lines_.size(); ++tried) {
        Line& line = *lines_[next_line_++ % lines_.size()];
        if (line.channel.send(record, data, r->con->fd) == process::PassingError::none) {
            ++next_id_;
            ++statistics_[Statistics::handed_over];
            return Outcome::sent;
        }
    }
    return Outcome::full;
}

bool Service::enqueue(Pending& pending) {
    if (backlog_.full()) return false;
    pending.place = backlog_.append(&pending, log_monotonic_secs);
    pending.state = Pending::State::waiting;
    ++statistics_[Statistics::waited];
    statistics_[Statistics::waiting] = int(backlog_.size());
    watch_for_room();
    return true;
}

void Service::forget(Pending& pending) {
    if (pending.state != Pending::State::waiting) return;
    backlog_.remove(pending.place);
    pending.state = Pending::State::claimed;
    statistics_[Statistics::waiting] = int(backlog_.size());
    watch_for_room();
}

void Service::watch_for_room() {
    const int events = backlog_.empty() ? FDEVENT_IN : FDEVENT_IN | FDEVENT_OUT;
    for (const auto& line : lines_) fdevent_fdnode_event_set(srv_->ev, line->node, events);
}

handler_t Service::on_event(void* context, int events) {
    Line& line = *static_cast<Line*>(context);
    if (events & FDEVENT_OUT) line.service->on_writable();
    return HANDLER_FINISHED;
}

// Sends those who wait, in their order; lighttpd then lets each connection go.
void Service::on_writable() {
    while (Pending* const pending = backlog_.first()) {
        const Outcome outcome = send_pending(*pending);
        if (outcome == Outcome::full) return;
        forget(*pending);
        pending->state = outcome == Outcome::sent ? Pending::State::sent : Pending::State::refused;
        joblist_append(pending->request->con);
    }
}

void Service::refuse_late() {
    while (Pending* const pending = backlog_.late(log_monotonic_secs)) {
        forget(*pending);
        pending->state = Pending::State::refused;
        joblist_append(pending->request->con);
    }
}

void Service::worker_started(pid_t) {
    ++statistics_[Statistics::started];
    ++statistics_[Statistics::workers];
}

void Service::worker_ended(pid_t) {
    ++statistics_[Statistics::died];
    --statistics_[Statistics::workers];
}

void Service::trigger() {
    if (!backlog_.empty()) on_writable();  // what ETOOMANYREFS and the like kept back
    refuse_late();
}

}  // namespace fd_transfer
