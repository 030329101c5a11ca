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
#include <unistd.h>

#include <cstdio>

#include "arguments.h"

namespace {

constexpr std::size_t message_max = 16 << 20;  // bytes
constexpr int handshakes_max = 256;            // at once, each with a table for its header fields

struct Client {
    fdworker::Ticket ticket;
    std::string message = std::string(LWS_PRE, '\0');  // libwebsockets writes in front of it
    bool binary = false;
    bool whole = false;
};

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
    std::copy(body.begin(), body.end(), at);
    lws_write(wsi, start, std::size_t(at - start) + body.size(), LWS_WRITE_HTTP_FINAL);
    intake_.taken(client.ticket);
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
            lws_set_opaque_user_data(wsi, new Client{.ticket = worker->adopted_});
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
            if (worker->draining_) lws_callback_on_writable(wsi);
            return 0;
        case LWS_CALLBACK_RECEIVE:
            return worker->take_piece(wsi, *client, static_cast<const char*>(in), size);
        case LWS_CALLBACK_SERVER_WRITEABLE:
            return worker->echo(wsi, *client);
        case LWS_CALLBACK_WSI_DESTROY:
            if (client == nullptr) return 0;
            worker->intake_.taken(client->ticket);
            delete client;
            --worker->clients_;
            return 0;
        default:
            return 0;
    }
}

}  // namespace

int main(int argc, char** argv) { return Worker(read_arguments(argc, argv).intake).run(); }
