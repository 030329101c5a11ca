// SPDX-License-Identifier: BSD-3-Clause
// The body of a request, as far as lighttpd has it.
#include "mod_fd_transfer/request_body.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "mod_fd_transfer/request_head.h"

namespace fd_transfer {
namespace {

bool is_whole(const request_st* r) { return r->reqbody_queue.bytes_in == off_t(r->reqbody_length); }

// Temporary files are read with the descriptor that lighttpd has, or by name.
bool append_file(std::string& out, const chunk& c) {
    const int fd = c.file.fd >= 0 ? c.file.fd : open(c.mem->ptr, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    size_t at = out.size();
    out.resize(at + size_t(c.file.length - c.offset));
    off_t offset = c.offset;
    while (at < out.size()) {
        const ssize_t got = pread(fd, out.data() + at, out.size() - at, offset);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        at += size_t(got);
        offset += got;
    }
    const bool complete = at == out.size();
    if (fd != c.file.fd) close(fd);
    return complete;
}

bool append_queue(std::string& out, const chunkqueue& queue) {
    for (const chunk* c = queue.first; c; c = c->next) {
        if (c->type == chunk::MEM_CHUNK)
            out.append(c->mem->ptr + c->offset, buffer_clen(c->mem) - size_t(c->offset));
        else if (!append_file(out, *c))
            return false;
    }
    return true;
}

void drop(chunkqueue& queue) { chunkqueue_mark_written(&queue, chunkqueue_length(&queue)); }

bool must_be_read(const request_st* r, const Settings& settings) {
    if (is_whole(r)) return false;
    return settings.body == BodyDelivery::whole || r->reqbody_queue.bytes_in > 0 ||
           // HTTP/1.0 has no chunks, and server.protocol-http11 = "disable" makes requests 1.0.
           (r->reqbody_length < 0 && r->http_version == HTTP_VERSION_1_0);
}

bool fits(const request_st* r, const Settings& settings) {
    return off_t(r->reqbody_length) <= settings.max_record &&
           r->reqbody_queue.bytes_in <= settings.max_record;
}

BodyResult refused(int status) { return {.state = BodyRead::refused, .status = status}; }

BodyResult used_up(const request_st* r) {
    log_error(r->conf.errh, __FILE__, __LINE__,
              "fd-transfer: another module has used up part of the body of \"%s\"; answering 500",
              r->target.ptr);
    return refused(500);
}

}  // namespace

BodyResult read_body(request_st* r, const Settings& settings) {
    if (r->reqbody_queue.bytes_out > 0) return used_up(r);
    if (r->reqbody_length < -1) return refused(411);  // "unspecified": up to the end of input
    if (!must_be_read(r, settings)) return {.state = BodyRead::ready};
    if (!fits(r, settings)) return refused(413);
    r->conf.stream_request_body &= ~(FDEVENT_STREAM_REQUEST | FDEVENT_STREAM_REQUEST_BUFMIN);
    const handler_t result = r->con->reqbody_read(r);
    if (result == HANDLER_GO_ON) return {.state = BodyRead::ready};
    if (result != HANDLER_WAIT_FOR_EVENT) return {.state = BodyRead::ended, .result = result};
    return fits(r, settings) ? BodyResult{.state = BodyRead::waiting} : refused(413);
}

bool append_body(std::string& out, const request_st* r) {
    if (!append_queue(out, r->reqbody_queue)) {
        log_perror(r->conf.errh, __FILE__, __LINE__,
                   "fd-transfer: cannot read the request's body from a temporary file "
                   "(server.upload-dirs)");
        return false;
    }
    return leftovers_follow(r) || append_queue(out, *r->con->read_queue);
}

void drop_body(request_st* r) {
    drop(r->reqbody_queue);
    drop(*r->con->read_queue);
}

uint64_t body_limit(const request_st* r) { return uint64_t(r->conf.max_request_size) << 10; }

}  // namespace fd_transfer
