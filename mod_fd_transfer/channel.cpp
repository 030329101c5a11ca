// SPDX-License-Identifier: BSD-3-Clause
// One queue to workers.
#include "mod_fd_transfer/channel.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace fd_transfer {
namespace {

process::FileDescriptor memfd_of(std::span<const uint8_t> data) {
    process::FileDescriptor fd(memfd_create("handoff", MFD_CLOEXEC));
    while (fd && !data.empty()) {
        const ssize_t written = write(fd.get(), data.data(), data.size());
        if (written > 0)
            data = data.subspan(size_t(written));
        else if (errno != EINTR)
            fd.reset();
    }
    return fd;
}

void prepare(int fd, int queue_bytes) {
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));  // who says what
    if (queue_bytes == 0) return;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &queue_bytes, sizeof(queue_bytes)) != 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &queue_bytes, sizeof(queue_bytes));
}

// Until there is nothing left.
void drop_messages(int socket) {
    uint8_t buffer[process::handoff_header_size];
    process::ReceivedMessage message;
    for (;;) {
        const process::PassingError error = receive_message(socket, buffer, message);
        if (error == process::PassingError::would_block ||
            error == process::PassingError::peer_closed || error == process::PassingError::system)
            return;
    }
}

}  // namespace

Channel Channel::create(int queue_bytes) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return {};
    prepare(pair[0], queue_bytes);
    return Channel(process::FileDescriptor(pair[0]), process::FileDescriptor(pair[1]));
}

Channel Channel::connect(const char* path, int queue_bytes) {
    sockaddr_un address = {AF_UNIX, {}};
    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    process::FileDescriptor fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return {};
    prepare(fd.get(), queue_bytes);  // before the worker can say hello
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) return {};
    return Channel(std::move(fd), {});
}

process::PassingError Channel::send(process::HandoffRecord record, std::span<const uint8_t> data,
                                    std::span<const uint8_t> fields, int client) const {
    uint8_t header[process::handoff_header_size];
    record.data_length = uint32_t(data.size());
    record.fields_length = uint32_t(fields.size());
    if (data.size() <= process::handoff_inline_max) {
        process::encode_handoff(record, header);
        const auto error = process::send_message(ours_.get(), header, data, {&client, 1}, fields);
        // A message that the whole queue would not hold is refused for ever.
        if (error == process::PassingError::none || errno != EMSGSIZE) return error;
    }
    const process::FileDescriptor memfd = memfd_of(data);
    if (!memfd) return process::PassingError::no_resources;
    record.flags |= process::handoff_in_memfd;
    process::encode_handoff(record, header);
    const int fds[] = {client, memfd.get()};
    return process::send_message(ours_.get(), header, {}, fds, fields);
}

int Channel::queued_bytes() const {
    int bytes = 0;
    return ioctl(ours_.get(), SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

bool Channel::shut_down() const {
    pollfd state = {ours_.get(), POLLRDHUP, 0};
    return poll(&state, 1, 0) > 0;
}

std::optional<uint64_t> Channel::first_id() const {
    uint8_t header[process::handoff_header_size];
    const ssize_t size = recv(theirs_.get(), header, sizeof(header), MSG_PEEK | MSG_DONTWAIT);
    if (size != ssize_t(sizeof(header))) return std::nullopt;
    return process::handoff_id(header);
}

process::PassingError Channel::take_first(std::span<uint8_t> buffer,
                                          process::ReceivedMessage& message) const {
    return process::receive_message(theirs_.get(), buffer, message);
}

void Channel::close() {
    if (!ours_) return;
    // A socket that is closed with unread messages makes the workers' next recvmsg() fail with
    // ECONNRESET. So nobody may send any more, then nothing may be left unread.
    shutdown(ours_.get(), SHUT_RDWR);
    drop_messages(ours_.get());
    ours_.reset();
    theirs_.reset();
}

}  // namespace fd_transfer
