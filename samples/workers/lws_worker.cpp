// SPDX-License-Identifier: BSD-3-Clause
// A libwebsockets program as a worker: it adopts each handed-off socket together with the bytes
// that were read from it, and serves HTTP and WebSocket (an echo) as if it had accepted it.
//
// libwebsockets keeps the socket, so nothing goes back to lighttpd: after an ordinary response
// the connection is closed.
//
//     lws_worker [--listen PATH] [--http PATH]
#include <fdworker.h>
#include <libwebsockets.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "arguments.h"

namespace {

constexpr std::size_t message_max = 16 << 20;  // bytes
constexpr int handshakes_max = 256;            // at once, each with a table for its header fields

struct Client {
    fdworker::Ticket ticket;
    std::string message = std::string(LWS_PRE, '\0');  // libwebsockets writes in front of it
    bool binary = false;
    bool whole = false;
    std::uint64_t sent_before = 0;  // bytes, up to the head of the 101
    fdworker::Answer answer{};      // how it has ended
};

// Bytes given to the socket, by the kernel's count: libwebsockets answers Ping and Close by itself.
// 0 for a socket that is not TCP.
std::uint64_t bytes_sent(lws* wsi) {
    tcp_info info{};
    socklen_t size = sizeof info;
    if (getsockopt(lws_get_socket_fd(wsi), IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
    return info.tcpi_bytes_sent - info.tcpi_bytes_retrans + info.tcpi_notsent_bytes;
}

class Worker {
  public:
    explicit Worker(fdworker::Intake intake);
    int run() {
        while (context_ != nullptr && (!draining_ || clients_ > 0)) lws_service(context_, 0);
        lws_context_destroy(context_);
        return context_ == nullptr;
    }

    static int on_event(lws* wsi, lws_callback_reasons reason, void*, void* in, std::size_t size);

  private:
    void receive();
    void adopt(fdworker::Handoff handoff);
    void drain();
    int answer(lws* wsi, Client& client);
    int take_piece(lws* wsi, Client& client, const char* piece, std::size_t size);
    int echo(lws* wsi, Client& client);

    fdworker::Intake intake_;
    lws_context* context_ = nullptr;
    const lws_protocols protocols_[2] = {{"echo", &Worker::on_event, 0, 65536, 0, this, 0}, {}};
    fdworker::Ticket adopted_;  // of the socket that is being adopted
    std::size_t clients_ = 0;
    bool draining_ = false;
};

Worker::Worker(fdworker::Intake intake) : intake_(std::move(intake)) {
    lws_set_log_level(LLL_WARN, nullptr);  // as an error, version 4.1 logs each adoption
    lws_context_creation_info info{};
    info.port = CONTEXT_PORT_NO_LISTEN_SERVER;
    info.protocols = protocols_;
    info.user = this;
    info.max_http_header_pool = handshakes_max;
    info.max_http_header_data = 65535;
    context_ = lws_create_context(&info);
    if (context_ == nullptr) return;
    lws_sock_file_fd_type fd;
    fd.filefd = dup(intake_.fd());  // which libwebsockets will close
    lws_adopt_descriptor_vhost(lws_get_vhost_by_name(context_, "default"), LWS_ADOPT_RAW_FILE_DESC,
                               fd, "echo", nullptr);
}

void Worker::receive() {
    fdworker::Handoff handoff;
    const auto status = intake_.receive(handoff);
    if (status == fdworker::Status::drained) return drain();
    if (status == fdworker::Status::ok) return adopt(std::move(handoff));
    if (is_refusal(status))
        std::fprintf(stderr, "lws_worker: hand-off refused: %s\n", text(status));
}

void Worker::adopt(fdworker::Handoff handoff) {
    // Callbacks come before it returns, even the last one.
    adopted_ = handoff.ticket;
    lws_adopt_socket_readbuf(context_, handoff.client.release(), handoff.data.data(),
                             handoff.data.size());
    intake_.done(adopted_);  // still here if libwebsockets has no room for it
    adopted_ = {};
}

void Worker::drain() {
    draining_ = true;
    lws_callback_on_writable_all_protocol(context_, &protocols_[0]);
}

int Worker::answer(lws* wsi, Client& client) {
    unsigned char buffer[LWS_PRE + 1024];
    unsigned char *at = buffer + LWS_PRE, *const start = at, *const end = buffer + sizeof buffer;
    const std::string body = "Hello from worker " + std::to_string(getpid()) + "\n";
    const auto* close = reinterpret_cast<const unsigned char*>("close");
    if (lws_add_http_common_headers(wsi, HTTP_STATUS_OK, "text/plain", body.size(), &at, end) ||
        lws_add_http_header_by_token(wsi, WSI_TOKEN_CONNECTION, close, 5, &at, end) ||
        lws_finalize_http_header(wsi, &at, end))
        return -1;
    const bool only_head = lws_hdr_total_length(wsi, WSI_TOKEN_HEAD_URI) > 0;
    const std::size_t body_size = only_head ? 0 : body.size();
    std::copy_n(body.begin(), body_size, at);
    if (lws_write(wsi, start, std::size_t(at - start) + body_size, LWS_WRITE_HTTP_FINAL) >= 0)
        client.answer = {HTTP_STATUS_OK, body_size};
    // libwebsockets closes its descriptor, the server waits for a client that is still sending.
    intake_.end_connection(client.ticket, lws_get_socket_fd(wsi), client.answer);
    return -1;  // close
}

int Worker::take_piece(lws* wsi, Client& client, const char* piece, std::size_t size) {
    if (client.message.size() + size > LWS_PRE + message_max) {
        lws_close_reason(wsi, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, nullptr, 0);
        return -1;
    }
    client.message.append(piece, size);
    client.binary = lws_frame_is_binary(wsi);
    if (lws_remaining_packet_payload(wsi) != 0 || !lws_is_final_fragment(wsi)) return 0;
    client.whole = true;
    lws_rx_flow_control(wsi, 0);  // until the echo is out
    lws_callback_on_writable(wsi);
    return 0;
}

int Worker::echo(lws* wsi, Client& client) {
    if (client.whole) {
        auto* payload = reinterpret_cast<unsigned char*>(&client.message[LWS_PRE]);
        if (lws_write(wsi, payload, client.message.size() - LWS_PRE,
                      client.binary ? LWS_WRITE_BINARY : LWS_WRITE_TEXT) < 0)
            return -1;
        client.whole = false;
        client.message.resize(LWS_PRE);
        lws_rx_flow_control(wsi, 1);
        if (draining_) lws_callback_on_writable(wsi);
    } else if (draining_ && client.message.size() == LWS_PRE) {
        lws_close_reason(wsi, LWS_CLOSE_STATUS_GOINGAWAY, nullptr, 0);
        return -1;
    }
    return 0;
}

int Worker::on_event(lws* wsi, lws_callback_reasons reason, void*, void* in, std::size_t size) {
    auto* worker = static_cast<Worker*>(lws_context_user(lws_get_context(wsi)));
    auto* client = static_cast<Client*>(lws_get_opaque_user_data(wsi));
    switch (reason) {
        case LWS_CALLBACK_RAW_RX_FILE:
            worker->receive();
            return 0;
        case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED:
            lws_set_opaque_user_data(wsi,
                                     new Client{.ticket = std::exchange(worker->adopted_, {})});
            ++worker->clients_;
            return 0;
        case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
            // What asks for HTTP/2 (curl does) is answered as if it had not: libwebsockets would
            // begin streams that no ticket belongs to.
            if (strcasecmp(static_cast<const char*>(in), "websocket") == 0) return 0;
            return worker->answer(wsi, *client);
        case LWS_CALLBACK_HTTP:
            return worker->answer(wsi, *client);
        case LWS_CALLBACK_ESTABLISHED:
            worker->intake_.taken(client->ticket);
            client->sent_before = bytes_sent(wsi);
            client->answer.status = 101;
            if (worker->draining_) lws_callback_on_writable(wsi);
            return 0;
        case LWS_CALLBACK_RECEIVE:
            return worker->take_piece(wsi, *client, static_cast<const char*>(in), size);
        case LWS_CALLBACK_SERVER_WRITEABLE:
            return worker->echo(wsi, *client);
        case LWS_CALLBACK_CLOSED:
            client->answer.bytes = bytes_sent(wsi) - client->sent_before;
            return 0;
        case LWS_CALLBACK_WSI_DESTROY:
            if (client == nullptr) return 0;
            worker->intake_.done(client->ticket, client->answer);
            delete client;
            --worker->clients_;
            return 0;
        default:
            return 0;
    }
}

}  // namespace

int main(int argc, char** argv) { return Worker(read_arguments(argc, argv).intake).run(); }
