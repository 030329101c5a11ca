// SPDX-License-Identifier: BSD-3-Clause
// A worker on Boost.Asio and Boost.Beast: a coroutine for each connection, thousands at once in
// one thread, answered in whatever order they become ready.
//
//     /hot/now             the time
//     /hot/slow?ms=500     the time, later
//     /hot/upload          POST: how many bytes the body has
//     /hot/events?ms=100   server-sent events, one every 100 ms
//     /hot/echo            WebSocket
//     /hot/who             who the client is, as lighttpd knows it
//
// After a response the connection goes back to lighttpd, to read the next request, or for its end.
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
#include <limits>
#include <optional>
#include <set>
#include <sstream>

#include "arguments.h"

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using namespace std::chrono_literals;
using asio::use_awaitable;
using std::chrono::milliseconds;

// Limits nothing, and counts what is written.
class Counter {
  public:
    std::uint64_t written() const { return written_; }

  private:
    friend class beast::rate_policy_access;
    std::size_t available_read_bytes() const { return std::numeric_limits<std::size_t>::max(); }
    std::size_t available_write_bytes() const { return std::numeric_limits<std::size_t>::max(); }
    void transfer_read_bytes(std::size_t) {}
    void transfer_write_bytes(std::size_t bytes) { written_ += bytes; }
    void on_timer() {}

    std::uint64_t written_ = 0;
};

using Stream = beast::basic_stream<asio::generic::stream_protocol, asio::any_io_executor, Counter>;
using WebSocket = beast::websocket::stream<Stream&>;
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

// One hand-off, and how far its answer has come.
struct Exchange {
    fdworker::Ticket ticket;
    fdworker::Peer peer;
    unsigned status = 0;      // of the answer, once it has begun
    std::uint64_t begin = 0;  // as the stream counts: where its head begins,
    std::uint64_t body = 0;   // and where its body does

    template <class Message>
    void begin_answer(const Stream& stream, const Message& response) {
        std::ostringstream head;
        head << response.base();
        status = response.result_int();
        begin = stream.rate_policy().written();
        body = begin + head.str().size();
    }
    // What the client may have got.
    fdworker::Answer answer(const Stream& stream) const {
        const std::uint64_t written = stream.rate_policy().written();
        if (status == 0 || written == begin) return {};
        return {int(status), written - std::min(written, body)};
    }
};

// How to answer a request of which this went wrong; nothing if there is nobody to answer.
std::optional<http::status> refusal_of(beast::error_code error) {
    if (error == http::error::body_limit) return http::status::payload_too_large;
    if (error == http::error::header_limit) return http::status::request_header_fields_too_large;
    if (error == http::error::end_of_stream || error == http::error::partial_message) return {};
    if (error.category() != http::make_error_code(http::error::bad_method).category()) return {};
    return http::status::bad_request;
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
        fdworker::Ticket ticket = handoff.ticket;
        asio::co_spawn(io_, serve(std::move(handoff)),
                       [this, ticket](std::exception_ptr failure) mutable {
                           --sessions_;
                           if (failure) intake_.done(ticket);  // no memory, no room in epoll
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
        Exchange exchange{handoff.ticket, std::move(handoff.peer)};
        const int fd = handoff.client.fd();
        Stream stream(asio::generic::stream_protocol::socket(io_, {family_of(fd), 0}, fd));
        handoff.client.release();
        beast::flat_buffer buffer;
        buffer.commit(
            asio::buffer_copy(buffer.prepare(handoff.data.size()), asio::buffer(handoff.data)));
        handoff.data = {};
        bool keep = false;
        std::optional<http::status> refusal;
        try {
            keep = co_await answer(stream, buffer, exchange);
        } catch (const boost::system::system_error& error) {
            refusal = refusal_of(error.code());
        }
        if (refusal && exchange.status == 0) co_await refuse(stream, *refusal, exchange);
        const fdworker::Answer got = exchange.answer(stream);
        if (!stream.socket().is_open()) {  // Beast has closed it: a time limit
            intake_.done(exchange.ticket, got);
            co_return;
        }
        const auto unread = buffer.cdata();
        const std::string_view next(static_cast<const char*>(unread.data()), unread.size());
        if (!keep && !next.empty()) exchange.ticket.unread = fdworker::Unread::likely;
        // In both cases only our descriptor is closed then.
        if (!keep || intake_.return_socket(exchange.ticket, fd, next, got) != fdworker::Status::ok)
            intake_.end_connection(exchange.ticket, fd, got);
    }

    asio::awaitable<void> refuse(Stream& stream, http::status status, Exchange& exchange) {
        http::response<http::string_body> response(status, 11);
        response.set(http::field::content_type, "text/plain");
        response.keep_alive(false);
        response.body() = std::string(http::obsolete_reason(status)) + "\n";
        response.prepare_payload();
        exchange.begin_answer(stream, response);
        stream.expires_after(io_timeout);
        beast::error_code gone;
        co_await http::async_write(stream, response, asio::redirect_error(use_awaitable, gone));
    }

    static int family_of(int fd) {
        sockaddr_storage address{};
        socklen_t size = sizeof address;
        getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
        return address.ss_family;
    }

    // True if the client may send another request.
    asio::awaitable<bool> answer(Stream& stream, beast::flat_buffer& buffer, Exchange& exchange) {
        Parser parser;
        parser.body_limit(body_limit(exchange.peer));
        stream.expires_after(io_timeout);
        co_await http::async_read_header(stream, buffer, parser, use_awaitable);
        const auto& request = parser.get();
        const beast::string_view target = request.target();
        if (beast::websocket::is_upgrade(request)) {
            co_await echo(stream, request, exchange);
            co_return false;
        }
        if (target.starts_with("/hot/events")) co_return co_await events(stream, request, exchange);

        http::response<http::string_body> response(http::status::ok, request.version());
        response.set(http::field::content_type, "text/plain");
        response.keep_alive(request.keep_alive());
        if (const auto body = co_await body_for(target, stream, buffer, parser, exchange)) {
            response.body() = *body;
        } else {  // without its body being read
            response.result(http::status::not_found);
            response.body() = "Not here.\n";
            response.keep_alive(request.keep_alive() && parser.is_done());
        }
        if (parser.is_done()) exchange.ticket.unread = fdworker::Unread::none;
        response.prepare_payload();
        if (request.method() == http::verb::head) response.body().clear();  // keeps its length
        exchange.begin_answer(stream, response);
        stream.expires_after(io_timeout);
        co_await http::async_write(stream, response, use_awaitable);
        co_return response.keep_alive();
    }

    // Bytes. lighttpd has compared its limit with Content-Length; chunks are ours to count.
    static std::uint64_t body_limit(const fdworker::Peer& peer) {
        return peer.body_limit == 0 ? body_max : std::min(body_max, peer.body_limit);
    }

    // Reads the request's body, then does what the target asks for. Nothing: there is no such
    // thing.
    asio::awaitable<std::optional<std::string>> body_for(beast::string_view target, Stream& stream,
                                                         beast::flat_buffer& buffer, Parser& parser,
                                                         Exchange& exchange) {
        const auto is = [&](const char* path) { return target.starts_with(path); };
        if (!is("/hot/slow") && !is("/hot/now") && !is("/hot/upload") && !is("/hot/who"))
            co_return std::nullopt;
        const std::uint64_t size = co_await read_body(stream, buffer, parser, exchange);
        if (is("/hot/upload")) co_return std::to_string(size) + "\n";
        if (is("/hot/who")) co_return who(exchange.peer);
        if (is("/hot/slow")) {
            stream.expires_never();
            co_await sleep(milliseconds_in(target, "ms=", 500));
        }
        co_return now();
    }

    static std::string who(const fdworker::Peer& peer) {
        const std::string user = peer.user.empty() ? "nobody" : peer.user;
        return user + " at " + peer.address + " port " + std::to_string(peer.port) + " by " +
               peer.scheme + "\n";
    }

    // Reads the body piece by piece; its size. A client that waits to be asked for it is asked.
    asio::awaitable<std::uint64_t> read_body(Stream& stream, beast::flat_buffer& buffer,
                                             Parser& parser, Exchange& exchange) {
        if (parser.is_done()) co_return 0;
        intake_.taken(exchange.ticket);  // lighttpd need not wait for our first byte
        const auto& request = parser.get();
        if (request.version() >= 11 && beast::iequals(request[http::field::expect], "100-continue"))
            co_await asio::async_write(stream, asio::buffer("HTTP/1.1 100 Continue\r\n\r\n", 25),
                                       use_awaitable);
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

    asio::awaitable<bool> events(Stream& stream, const Parser::value_type& request,
                                 Exchange& exchange) {
        http::response<http::empty_body> head(http::status::ok, 11);
        head.set(http::field::content_type, "text/event-stream");
        head.set(http::field::cache_control, "no-store");
        head.chunked(true);
        head.keep_alive(false);
        http::response_serializer<http::empty_body> serializer(head);
        exchange.begin_answer(stream, head);
        co_await http::async_write_header(stream, serializer, use_awaitable);
        if (request.method() == http::verb::head) co_return false;
        intake_.taken(exchange.ticket);
        const milliseconds interval = milliseconds_in(request.target(), "ms=", 1000);
        while (!draining_) {
            const std::string event = "data: " + now() + "\n";
            stream.expires_after(io_timeout);
            co_await asio::async_write(stream, http::make_chunk(asio::buffer(event)),
                                       use_awaitable);
            co_await sleep(interval);
        }
        co_await asio::async_write(stream, http::make_chunk_last(), use_awaitable);
        co_return false;
    }

    asio::awaitable<void> echo(Stream& stream, const Parser::value_type& request,
                               Exchange& exchange) {
        namespace websocket = beast::websocket;
        stream.expires_never();
        WebSocket socket(stream);
        socket.set_option(websocket::stream_base::timeout::suggested(beast::role_type::server));
        socket.auto_fragment(false);  // so that a Close of ours waits for the end of the message
        // Beast answers a bad handshake by itself.
        socket.set_option(
            websocket::stream_base::decorator([&](websocket::response_type& response) {
                response.set(http::field::server, "beast_worker");
                if (response.result() != http::status::switching_protocols)
                    response.keep_alive(false);
                exchange.begin_answer(stream, response);
            }));
        co_await socket.async_accept(request, use_awaitable);
        intake_.taken(exchange.ticket);
        exchange.ticket.unread = fdworker::Unread::none;
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
