// SPDX-License-Identifier: BSD-3-Clause
// permessage-deflate on 1 KiB of JSON, through both ends, against zlib alone on the same bytes.
#include "ws/deflate.h"

#include <zlib.h>

#include <cstdio>
#include <cstdlib>

#include "bench/engine/rounds.h"
#include "ws/connection.h"

namespace bench {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes json() {
    std::string text = "[";
    for (int i = 0; text.size() < 1000; i++)
        text += "{\"id\":" + std::to_string(i * 7919) +
                ",\"price\":" + std::to_string(i * 31 % 97) + ".5,\"symbol\":\"ABC" +
                std::to_string(i % 10) + "\"},";
    text.resize(1023, ' ');
    text += "]";
    return {text.begin(), text.end()};
}

// A client that sends to a server, compressed.
struct Ends {
    explicit Ends(bool takeover)
        : agreed{!takeover, !takeover, 15, 15},
          client_deflate(ws::Role::client, agreed, pool),
          server_deflate(ws::Role::server, agreed, pool),
          client(ws::Role::client, {}, &client_deflate, [] { return uint32_t{0x12345678}; }),
          server(ws::Role::server, {}, &server_deflate) {}

    void pass(const Bytes& message) {
        std::span<const uint8_t> source = message;
        const auto sent = client.send_compressed(ws::Opcode::text, source, true, wire);
        if (sent.status != ws::SendStatus::ok) abort();
        std::span<uint8_t> input = sent.bytes;
        const auto event = server.receive(input, space);
        if (!event.last || event.payload.size() != message.size()) abort();
    }

    ws::DeflatePool pool;
    ws::DeflateParameters agreed;
    ws::PerMessageDeflate client_deflate, server_deflate;
    ws::Connection client, server;
    uint8_t wire[4096], space[4096];
};

// The same without us: deflate, flush, inflate.
struct Zlib {
    explicit Zlib(bool takeover) : keep(takeover) {
        deflateInit2(&out, 1, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
        inflateInit2(&in, -15);
    }
    ~Zlib() {
        deflateEnd(&out);
        inflateEnd(&in);
    }

    void pass(const Bytes& message) {
        if (!keep) {
            deflateReset(&out);
            inflateReset(&in);
        }
        out.next_in = const_cast<uint8_t*>(message.data());
        out.avail_in = uInt(message.size());
        out.next_out = wire;
        out.avail_out = sizeof wire;
        ::deflate(&out, Z_SYNC_FLUSH);
        in.next_in = wire;
        in.avail_in = uInt(out.next_out - wire);
        in.next_out = space;
        in.avail_out = sizeof space;
        inflate(&in, Z_SYNC_FLUSH);
        if (size_t(in.next_out - space) != message.size()) abort();
    }

    bool keep;
    z_stream out{}, in{};
    uint8_t wire[4096], space[4096];
};

}  // namespace

void deflate() {
    const Bytes message = json();
    const double amount = double(message.size()) / 1e6;
    for (const bool takeover : {false, true}) {
        Ends ends(takeover);
        Zlib zlib(takeover);
        compare(takeover ? "1 KiB of JSON compressed and inflated, context takeover"
                         : "1 KiB of JSON compressed and inflated, shared streams",
                amount, "MB",
                {{"ws::Connection, both ends", [&] { ends.pass(message); }},
                 {"zlib alone", [&] { zlib.pass(message); }}});
    }
}

}  // namespace bench
