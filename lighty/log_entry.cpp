// SPDX-License-Identifier: BSD-3-Clause
// An entry of the access log that is written after lighttpd has let the connection go.
#include "lighty/log_entry.h"

#include <stdlib.h>
#include <string.h>

#include <cassert>
#include <initializer_list>
#include <utility>

#include "lighty/compat.h"

namespace lighty {
namespace {

constexpr size_t unused_max = 64;

connection* new_connection(const connection* model) {
    auto* const con = static_cast<connection*>(calloc(1, sizeof(connection)));
    if (!con) abort();
    request_init_data(&con->request, con, model->srv);
    con->plugin_ctx =
        static_cast<void**>(calloc(model->srv->plugins.used + 1, sizeof(con->plugin_ctx[0])));
    if (!con->plugin_ctx) abort();
    return con;
}

void free_connection(connection* con) {
    request_free_data(&con->request);
    free(con->plugin_ctx);
    free(con->dst_addr_buf.ptr);
    free(con);
}

void copy_text(buffer& to, const buffer& from) {
    buffer_copy_string_len(&to, from.ptr ? from.ptr : "", buffer_clen(&from));
}

// Buffers and tables change places, so that neither side has to allocate or copy.
void swap_texts(request_st& a, request_st& b) {
    std::swap(a.rqst_headers, b.rqst_headers);
    std::swap(a.resp_headers, b.resp_headers);
    std::swap(a.env, b.env);
    std::swap(a.uri, b.uri);
    std::swap(a.physical, b.physical);
    std::swap(a.target, b.target);
    std::swap(a.target_orig, b.target_orig);
    std::swap(a.pathinfo, b.pathinfo);
    std::swap(a.server_name_buf, b.server_name_buf);
    std::swap(a.cond_cache, b.cond_cache);
}

// No module has anything to do with the copy of a request, so none is called.
void clear(request_st& r) {
    for (array* const fields : {&r.rqst_headers, &r.resp_headers, &r.env})
        array_reset_data_strings(fields);
    for (buffer* const text :
         {&r.uri.scheme, &r.uri.authority, &r.uri.path, &r.uri.query, &r.physical.path,
          &r.physical.basedir, &r.physical.doc_root, &r.physical.rel_path, &r.target,
          &r.target_orig, &r.pathinfo, &r.server_name_buf})
        buffer_reset(text);
    r.http_host = nullptr;
}

void copy_counters(chunkqueue& to, const chunkqueue& from) {
    to.bytes_in = from.bytes_in;
    to.bytes_out = from.bytes_out;
}

const buffer* server_name_in(const request_st& r, const request_st& original) {
    if (original.server_name == &original.uri.authority) return &r.uri.authority;
    if (original.server_name == &original.server_name_buf) return &r.server_name_buf;
    return original.server_name;
}

void move_request(request_st& to, request_st& from) {
    to.state = CON_STATE_RESPONSE_END;
    to.http_method = from.http_method;
    to.http_version = from.http_version;
    to.conditional_is_valid = from.conditional_is_valid;
    to.conf = from.conf;
    to.rqst_header_len = from.rqst_header_len;
    to.rqst_htags = from.rqst_htags;
    to.resp_htags = from.resp_htags;
    to.reqbody_length = from.reqbody_length;
    to.server_name = server_name_in(to, from);
    to.http_host = from.http_host;  // in the fields, which move
    to.start_hp = from.start_hp;
    to.keep_alive = from.keep_alive;
    to.resp_header_len = 0;
    written_checkpoint(&to) = written_checkpoint(&from);
    read_checkpoint(&to) = read_checkpoint(&from);
    copy_counters(to.write_queue, from.write_queue);
    copy_counters(to.read_queue, from.read_queue);
    swap_texts(to, from);
    from.http_host = nullptr;
    from.rqst_htags = from.resp_htags = 0;
    from.server_name = &from.uri.authority;
    from.http_status = 0;  // lighttpd has nothing to log
}

void copy_connection(connection& to, const connection& from) {
    const request_st& r = from.request;
    to.fd = -1;
    to.srv = from.srv;
    to.plugin_slots = from.plugin_slots;
    to.config_data_base = from.config_data_base;
    to.proto_default_port = from.proto_default_port;
    to.is_ssl_sock = from.is_ssl_sock;
    to.request_count = from.request_count;
    to.connection_start = from.connection_start;
    to.write_queue = &to.request.write_queue;
    to.read_queue = &to.request.read_queue;
    to.dst_addr = client_sock_addr(&r);
    copy_text(to.dst_addr_buf, client_address_buffer(&r));
}

}  // namespace

LogEntry::LogEntry(LogEntry&& other) noexcept
    : owner_(other.owner_), connection_(std::exchange(other.connection_, nullptr)) {}

LogEntry& LogEntry::operator=(LogEntry&& other) noexcept {
    if (this != &other) {
        drop();
        owner_ = other.owner_;
        connection_ = std::exchange(other.connection_, nullptr);
    }
    return *this;
}

void LogEntry::write(int status, uint64_t bytes) {
    assert(connection_ && status != 0);
    set_logged_response(&connection_->request, status, bytes);
    plugins_call_handle_request_done(&connection_->request);
    drop();
}

void LogEntry::drop() {
    if (connection_) owner_->give_back(std::exchange(connection_, nullptr));
}

LogEntries::~LogEntries() {
    for (connection* const con : unused_) free_connection(con);
    for (const auto& socket : sockets_) free(socket->token.ptr);
}

LogEntry LogEntries::take(request_st* r) {
    connection* const con = unused(r->con);
    copy_connection(*con, *r->con);
    con->srv_socket = lasting(r->con->srv_socket);
    move_request(con->request, *r);
    return LogEntry(this, con);
}

connection* LogEntries::unused(const connection* model) {
    if (unused_.empty()) return new_connection(model);
    connection* const con = unused_.back();
    unused_.pop_back();
    return con;
}

const server_socket* LogEntries::lasting(const server_socket* socket) {
    for (const auto& known : sockets_)
        if (known->original == socket) return &known->copy;
    auto& added = *sockets_.emplace_back(new SocketCopy{socket, *socket, {}});
    copy_text(added.token, *socket->srv_token);
    added.copy.srv_token = &added.token;
    return &added.copy;
}

void LogEntries::give_back(connection* con) {
    if (unused_.size() == unused_max) return free_connection(con);
    clear(con->request);
    unused_.push_back(con);
}

void set_logged_response(request_st* r, int status, uint64_t bytes) {
    r->http_status = status;
    r->resp_header_len = 0;
    r->write_queue.bytes_out = written_checkpoint(r) + off_t(bytes);
}

}  // namespace lighty
