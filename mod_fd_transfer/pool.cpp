// SPDX-License-Identifier: BSD-3-Clause
// The workers that lighttpd starts, as lighttpd sees them.
#include "mod_fd_transfer/pool.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <string>
#include <utility>

#include "mod_fd_transfer/supervisor.h"

namespace fd_transfer {

Pool::Pool(const std::vector<std::unique_ptr<Service>>& services, server* srv) : srv_(srv) {
    for (const auto& service : services) {
        if (!service->settings().spawned()) continue;
        const auto index = uint32_t(members_.size());
        members_.push_back({service.get(), !service->settings().on_demand, 0});
        if (!members_[index].wanted) service->on_first_use([this, index] { order(index); });
    }
}

bool Pool::start() {
    if (members_.empty()) return true;
    std::vector<Supervised> supervised;
    for (const Member& member : members_)
        supervised.push_back(
            {&member.service->settings(), member.service->workers_fd(), member.wanted});
    control_ = start_supervisor(supervised);
    if (!control_) {
        log_perror(srv_->errh, __FILE__, __LINE__,
                   "fd-transfer: cannot start the supervisor of the workers");
        return false;
    }
    node_ = fdevent_register(srv_->ev, control_.get(), on_event, this);
    fdevent_fdnode_event_set(srv_->ev, node_, FDEVENT_IN);
    ++srv_->cur_fds;
    return true;
}

void Pool::trigger() {
    bool anew = false;
    for (const Member& member : members_) anew |= member.service->reopen();
    if (anew) forget_workers();
    if (!members_.empty() && !control_) start();
}

void Pool::order(uint32_t member) {
    members_[member].wanted = true;
    const Order order = {member};
    if (control_) (void)!send(control_.get(), &order, sizeof(order), MSG_DONTWAIT | MSG_NOSIGNAL);
}

handler_t Pool::on_event(void* context, int) {
    Pool& pool = *static_cast<Pool*>(context);
    while (pool.read_notice()) {
    }
    return HANDLER_FINISHED;
}

// False if there is none.
bool Pool::read_notice() {
    Notice notice;
    const ssize_t size = recv(control_.get(), &notice, sizeof(notice), MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (size != sizeof(notice)) {
        log_error(srv_->errh, __FILE__, __LINE__,
                  "fd-transfer: the supervisor of the workers has died; starting another");
        forget_workers();
        return false;
    }
    Member& member = members_[notice.service];
    Service& service = *member.service;
    switch (notice.kind) {
        case Notice::started:
            member.failure = 0;
            service.worker_started(notice.pid);
            break;
        case Notice::ended:
            log_ended(service, notice.pid, notice.status);
            service.worker_ended(notice.pid, notice.status, notice.ran);
            break;
        case Notice::failed:
            on_failed(member, notice);
            break;
    }
    return true;
}

// Said once for each reason: the supervisor goes on trying.
void Pool::on_failed(Member& member, const Notice& notice) {
    const Settings& settings = member.service->settings();
    if (std::exchange(member.failure, notice.status) != notice.status)
        log_error(srv_->errh, __FILE__, __LINE__,
                  "fd-transfer.server \"%s\": cannot start %s: %s: %s; trying again, ever more "
                  "slowly",
                  settings.prefix.c_str(), settings.program.command[0].c_str(), notice.step,
                  strerror(notice.status));
    member.service->worker_failed();
}

void Pool::log_ended(const Service& service, pid_t pid, int status) const {
    const bool killed = WIFSIGNALED(status);
    const Settings& settings = service.settings();
    const std::string next =
        WorkerHealth::is_configuration_error(status)
            ? "it says that it cannot run as it is configured (EX_CONFIG); trying again in " +
                  std::to_string(settings.restart_wait) + " s"
            : "restarting";
    log_error(srv_->errh, __FILE__, __LINE__, "fd-transfer.server \"%s\": worker %d %s %d; %s",
              settings.prefix.c_str(), int(pid),
              killed ? "was killed by signal" : "exited with status",
              killed ? WTERMSIG(status) : WEXITSTATUS(status), next.c_str());
}

// The supervisor has died, or is left to end with its workers.
void Pool::forget_workers() {
    close();
    for (const Member& member : members_) member.service->workers_forgotten();
}

void Pool::close() {
    if (!control_) return;
    fdevent_fdnode_event_del(srv_->ev, node_);
    fdevent_unregister(srv_->ev, node_);
    node_ = nullptr;
    --srv_->cur_fds;
    control_.reset();
}

}  // namespace fd_transfer
