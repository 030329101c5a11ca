// SPDX-License-Identifier: BSD-3-Clause
// A worker on Boost.Asio and Boost.Beast: a coroutine for each connection, thousands at once in
// one thread, answered in whatever order they become ready.
//
//     /hot/now             the time
//     /hot/slow?ms=500     the time, later
//     /hot/upload          POST: how many bytes the body has
//     /hot/events?ms=100   server-sent events, one every 100 ms
//     /hot/echo            WebSocket
//
// After a response the connection goes back to lighttpd.
//
//     beast_worker [--listen PATH] [--http PATH]
#include <fdworker.h>

// clang-format off: Boost 1.74's awaitable.hpp does not include <utility> by itself.
#include <utility>
// clang-format on

#include <boost/asio.hpp>
#include <boost/beast.hpp>
#include <chrono>
#include <cstdio>
#include <set>

#include "arguments.h"

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using namespace std::chrono_literals;
using asio::use_awaitable;
using std::chrono::milliseconds;
using Stream = beast::basic_stream<asio::generic::stream_protocol>;
using WebSocket = beast::websocket::stream<Stream>;
using Parser = http::request_parser<http::buffer_body>;

constexpr std::size_t sessions_max = 10000;
constexpr std::uint64_t body_max = 1ull << 30;  // bytes
constexpr auto io_timeout = 30s;

std::string now() {
    const auto time = std::chrono::system_clock::now().time_since_epoch();
    return std::to_string(time / 1ms) + "\n";
}

// The number after `name=` in the target's query, or `otherwise`.
milliseconds milliseconds_in(beast::string_view target, beast::string_view name, int otherwise) {
    const std::size_t at = target.find(name);
    if (at == target.npos) return milliseconds(otherwise);
    return milliseconds(std::atoi(std::string(target.substr(at + name.size())).c_str()));
}

class Worker {
  public:
    explicit Worker(fdworker::Intake intake) : intake_(std::move(intake)) {}

    int run() {
        asio::co_spawn(io_, receive(), asio::detached);
        io_.run();
        intake_fd_.release();  // closed by intake_
        return 0;
    }

  private:
    // Takes connections until it is time to drain.
    asio::awaitable<void> receive() {
        while (!draining_) {
            co_await intake_fd_.async_wait(asio::posix::stream_descriptor::wait_read,
                                           use_awaitable);
            fdworker::Handoff handoff;
            const auto status = intake_.receive(handoff);
            if (status == fdworker::Status::drained)
                drain();
            else if (status == fdworker::Status::ok)
                begin(std::move(handoff));
            else if (status != fdworker::Status::empty)
                std::fprintf(stderr, "beast_worker: hand-off refused: %s\n", text(status));
            while (sessions_ >= sessions_max) co_await sleep(10ms);
        }
    }

    void begin(fdworker::Handoff handoff) {
        ++sessions_;
        asio::co_spawn(io_, serve(std::move(handoff)), [this](std::exception_ptr) {
            --sessions_;  // clients leave, and time limits pass: nothing to report
        });
    }

    void drain() {
        draining_ = true;
        for (WebSocket* socket : web_sockets_)
            socket->async_close(beast::websocket::close_code::going_away, [](beast::error_code) {});
    }

    asio::awaitable<void> sleep(milliseconds time) {
        asio::steady_timer timer(io_, time);
        co_await timer.async_wait(use_awaitable);
    }

    // One request, and what becomes of its connection.
    asio::awaitable<void> serve(fdworker::Handoff handoff) {
        fdworker::Ticket ticket = handoff.ticket;
        const int fd = handoff.client.release();
        Stream stream(asio::generic::stream_protocol::socket(io_, {family_of(fd), 0}, fd));
        beast::flat_buffer buffer;
        buffer.commit(
            asio::buffer_copy(buffer.prepare(handoff.data.size()), asio::buffer(handoff.data)));
        handoff.data = {};
        bool keep = false;
        try {
            keep = co_await answer(stream, buffer, ticket);
        } catch (const boost::system::system_error&) {
        }
        const auto unread = buffer.cdata();
        if (keep && intake_.return_socket(
                        ticket, fd, {static_cast<const char*>(unread.data()), unread.size()}) ==
                        fdworker::Status::ok)
            co_return;  // only our descriptor is closed
        intake_.taken(ticket);
        beast::error_code ignored;
        stream.socket().shutdown(asio::socket_base::shutdown_send, ignored);
    }

    static int family_of(int fd) {
        sockaddr_storage address{};
        socklen_t size = sizeof address;
        getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
        return address.ss_family;
    }

    // True if the client may send another request.
    asio::awaitable<bool> answer(Stream& stream, beast::flat_buffer& buffer,
                                 fdworker::Ticket& ticket) {
        Parser parser;
        parser.body_limit(body_max);
        stream.expires_after(io_timeout);
        co_await http::async_read_header(stream, buffer, parser, use_awaitable);
        const auto& request = parser.get();
        const beast::string_view target = request.target();
        if (beast::websocket::is_upgrade(request)) {
            co_await echo(std::move(stream), request, ticket);
            co_return false;
        }
        if (target.starts_with("/hot/events")) {
            co_await events(stream, milliseconds_in(target, "ms=", 1000), ticket);
            co_return false;
        }
        if (beast::iequals(request[http::field::expect], "100-continue"))
            co_await asio::async_write(stream, asio::buffer("HTTP/1.1 100 Continue\r\n\r\n", 25),
                                       use_awaitable);
        const std::uint64_t body_size = co_await read_body(stream, buffer, parser);

        http::response<http::string_body> response(http::status::ok, request.version());
        response.set(http::field::content_type, "text/plain");
        response.keep_alive(request.keep_alive());
        if (target.starts_with("/hot/slow")) {
            stream.expires_never();
            co_await sleep(milliseconds_in(target, "ms=", 500));
            response.body() = now();
        } else if (target.starts_with("/hot/now")) {
            response.body() = now();
        } else if (target.starts_with("/hot/upload")) {
            response.body() = std::to_string(body_size) + "\n";
        } else {
            response.result(http::status::not_found);
            response.body() = "Not here.\n";
        }
        response.prepare_payload();
        stream.expires_after(io_timeout);
        co_await http::async_write(stream, response, use_awaitable);
        intake_.taken(ticket);
        co_return response.keep_alive();
    }

    // Reads the body piece by piece; its size.
    asio::awaitable<std::uint64_t> read_body(Stream& stream, beast::flat_buffer& buffer,
                                             Parser& parser) {
        std::uint64_t total = 0;
        std::array<char, 65536> piece;
        while (!parser.is_done()) {
            auto& body = parser.get().body();
            body.data = piece.data();
            body.size = piece.size();
            stream.expires_after(io_timeout);
            beast::error_code error;
            co_await http::async_read_some(stream, buffer, parser,
                                           asio::redirect_error(use_awaitable, error));
            if (error && error != http::error::need_buffer)
                throw boost::system::system_error(error);
            total += piece.size() - body.size;
        }
        co_return total;
    }

    asio::awaitable<void> events(Stream& stream, milliseconds interval, fdworker::Ticket& ticket) {
        http::response<http::empty_body> head(http::status::ok, 11);
        head.set(http::field::content_type, "text/event-stream");
        head.set(http::field::cache_control, "no-store");
        head.chunked(true);
        http::response_serializer<http::empty_body> serializer(head);
        co_await http::async_write_header(stream, serializer, use_awaitable);
        intake_.taken(ticket);
        while (!draining_) {
            const std::string event = "data: " + now() + "\n";
            stream.expires_after(io_timeout);
            co_await asio::async_write(stream, http::make_chunk(asio::buffer(event)),
                                       use_awaitable);
            co_await sleep(interval);
        }
        co_await asio::async_write(stream, http::make_chunk_last(), use_awaitable);
    }

    asio::awaitable<void> echo(Stream stream, const Parser::value_type& request,
                               fdworker::Ticket& ticket) {
        stream.expires_never();
        WebSocket socket(std::move(stream));
        socket.set_option(
            beast::websocket::stream_base::timeout::suggested(beast::role_type::server));
        socket.auto_fragment(false);  // so that a Close of ours waits for the end of the message
        co_await socket.async_accept(request, use_awaitable);
        intake_.taken(ticket);
        web_sockets_.insert(&socket);
        beast::error_code error;
        beast::flat_buffer message;
        while (!error) {
            co_await socket.async_read(message, asio::redirect_error(use_awaitable, error));
            if (error) break;
            socket.text(socket.got_text());
            co_await socket.async_write(message.data(), asio::redirect_error(use_awaitable, error));
            message.consume(message.size());
        }
        web_sockets_.erase(&socket);
    }

    asio::io_context io_{1};
    fdworker::Intake intake_;
    asio::posix::stream_descriptor intake_fd_{io_, intake_.fd()};
    std::set<WebSocket*> web_sockets_;
    std::size_t sessions_ = 0;
    bool draining_ = false;
};

}  // namespace

int main(int argc, char** argv) { return Worker(read_arguments(argc, argv).intake).run(); }
