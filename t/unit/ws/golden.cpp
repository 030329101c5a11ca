// SPDX-License-Identifier: BSD-3-Clause
// Runs golden cases. How they are read is in golden_reader.cpp.
#include "golden.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "ws/deflate.h"
#include "ws/mask.h"

namespace golden {
namespace {

constexpr ws::MaskKey mask_key = {0x37, 0xFA, 0x21, 0x3D};

uint32_t next_mask_key() {
    static uint32_t key = 0x9E3779B9;
    return key = key * 1664525 + 1013904223;
}

ws::Role other(ws::Role role) {
    return role == ws::Role::server ? ws::Role::client : ws::Role::server;
}

Bytes compress(const Bytes& payload) {
    ws::DeflatePool pool;
    ws::PerMessageDeflate deflate(ws::Role::server, {}, pool);
    Bytes out(payload.size() + 64);
    std::span<const uint8_t> input = payload;
    out.resize(deflate.compress(input, true, out).produced);
    return out;
}

const char* name_of(ws::Opcode opcode) { return opcode == ws::Opcode::text ? "text " : "binary "; }

// The engine under test, and one of the other role that reads what it sends.
class Runner {
  public:
    Runner(const Case& c, ws::Role role)
        : deflate_(role, {}, pool_),
          peer_deflate_(other(role), {}, pool_),
          engine_(role, c.limits, c.deflate ? &deflate_ : nullptr, next_mask_key),
          peer_(other(role), {}, c.deflate ? &peer_deflate_ : nullptr, next_mask_key) {}

    // The input is in memory of exactly its size, so that a sanitizer sees every step beyond.
    void feed(const uint8_t* data, size_t size) {
        const auto copy = std::make_unique<uint8_t[]>(size);
        std::copy_n(data, size, copy.get());
        std::span<uint8_t> input(copy.get(), size);
        uint8_t space[64];
        for (;;) {
            const ws::Event event = engine_.receive(input, space);
            if (event.type == ws::EventType::need_input || event.type == ws::EventType::closed)
                break;
            report(event);
            fetch_replies();
        }
        if (!input.empty()) log.push_back("engine left input behind");
    }

    std::vector<std::string> log;

  private:
    void report(const ws::Event& event) {
        const Bytes payload(event.payload.begin(), event.payload.end());
        const std::string reason(event.reason);
        switch (event.type) {
            case ws::EventType::message:
                report_piece(event);
                break;
            case ws::EventType::ping:
                log.push_back("ping " + quote(payload));
                break;
            case ws::EventType::pong:
                log.push_back("pong " + quote(payload));
                break;
            case ws::EventType::close:
                log.push_back("close " + std::to_string(event.code) + " " +
                              quote({reason.begin(), reason.end()}));
                break;
            case ws::EventType::error:
                if (begun_) log.push_back(std::string("cut ") + name_of(opcode_) + quote(message_));
                begun_ = false;
                log.push_back("error " + std::to_string(event.code));
                if (reason.empty()) log.push_back("error without a text");
                break;
            default:
                log.push_back("unexpected event");
        }
    }

    void report_piece(const ws::Event& event) {
        if (event.first == begun_) log.push_back("first flag is wrong");
        if (event.payload.empty() && !event.last) log.push_back("piece without a purpose");
        if (event.first) {
            message_.clear();
            opcode_ = event.opcode;
        }
        if (event.opcode != opcode_) log.push_back("opcode changed");
        message_.insert(message_.end(), event.payload.begin(), event.payload.end());
        begun_ = !event.last;
        if (!event.last) return;
        log.push_back(name_of(opcode_) + quote(message_));
        send_back();
    }

    void send_back() {
        constexpr size_t headroom = ws::Connection::headroom;
        if (!ws::may_send(engine_.state())) return;
        Bytes buffer(headroom + message_.size());
        std::copy(message_.begin(), message_.end(), buffer.begin() + headroom);
        const auto sent = engine_.send(opcode_, std::span(buffer).subspan(headroom));
        if (sent.status != ws::SendStatus::ok) log.push_back("echo refused");
        read_reply(sent.bytes);
    }

    void fetch_replies() {
        uint8_t out[2 * ws::max_control_frame];
        if (engine_.pending()) read_reply(std::span(out).first(engine_.take_pending(out)));
        if (engine_.pending()) log.push_back("replies left behind");
    }

    void read_reply(std::span<uint8_t> bytes) {
        Bytes echoed;
        for (;;) {
            const ws::Event event = peer_.receive(bytes);
            const Bytes payload(event.payload.begin(), event.payload.end());
            switch (event.type) {
                case ws::EventType::message:
                    echoed.insert(echoed.end(), payload.begin(), payload.end());
                    if (event.last && echoed != message_) log.push_back("echo differs");
                    break;
                case ws::EventType::pong:
                    log.push_back("sends pong " + quote(payload));
                    break;
                case ws::EventType::close:
                    log.push_back("sends close " + std::to_string(event.code));
                    break;
                case ws::EventType::need_input:
                case ws::EventType::closed:
                    return;
                default:
                    log.push_back("sends what its peer does not accept");
                    return;
            }
        }
    }

    ws::DeflatePool pool_;
    ws::PerMessageDeflate deflate_;
    ws::PerMessageDeflate peer_deflate_;
    ws::Connection engine_;
    ws::Connection peer_;
    Bytes message_;
    ws::Opcode opcode_ = ws::Opcode::text;
    bool begun_ = false;
};

std::string shorten(const std::string& text) {
    return text.size() < 200 ? text : text.substr(0, 200) + "...";
}

std::string differences(const std::vector<std::string>& expected,
                        const std::vector<std::string>& actual) {
    if (expected == actual) return "";
    std::string text = "\n  expected:";
    for (const auto& line : expected) text += "\n    < " + shorten(line);
    text += "\n  but was:";
    for (const auto& line : actual) text += "\n    < " + shorten(line);
    return text;
}

}  // namespace

Bytes Input::encode(ws::Role receiver) const {
    if (raw) return payload;
    const Bytes body = deflated ? compress(payload) : payload;
    const bool masked = (receiver == ws::Role::server) != wrong_mask;
    const uint64_t length = claimed_length.value_or(body.size());
    const int form = length_form ? length_form : length < 126 ? 0 : length <= 65535 ? 16 : 64;
    Bytes out;
    const uint8_t rsv_bits = rsv | (deflated ? 4 : 0);
    out.push_back((fin ? 0x80 : 0) | rsv_bits << 4 | opcode);
    out.push_back((masked ? 0x80 : 0) | (form == 0 ? length : form == 16 ? 126 : 127));
    for (int shift = form - 8; shift >= 0; shift -= 8) out.push_back(uint8_t(length >> shift));
    if (masked) out.insert(out.end(), mask_key.begin(), mask_key.end());
    for (size_t i = 0; i < body.size(); i++)
        out.push_back(masked ? body[i] ^ mask_key[i % 4] : body[i]);
    return out;
}

std::string run(const Case& c, ws::Role role, Cut cut) {
    Runner runner(c, role);
    size_t offset = 0;
    for (const Step& step : c.steps) {
        const Bytes& bytes = step.input_for(role);
        for (size_t done = 0; done < bytes.size();) {
            const size_t at = offset + done;
            size_t end = std::min(bytes.size() - done, cut.every - at % cut.every);
            if (cut.once > at) end = std::min(end, cut.once - at);
            runner.feed(bytes.data() + done, end);
            done += end;
        }
        offset += bytes.size();
        const auto difference = differences(step.expected, runner.log);
        if (!difference.empty()) return difference;
        runner.log.clear();
    }
    return "";
}

size_t input_size(const Case& c, ws::Role role) {
    size_t size = 0;
    for (const Step& step : c.steps) size += step.input_for(role).size();
    return size;
}

std::string quote(const Bytes& bytes) {
    constexpr char digits[] = "0123456789abcdef";
    std::string text = "\"";
    text.reserve(bytes.size() + 2);
    for (const uint8_t byte : bytes) {
        if (byte != '"' && byte != '\\' && byte >= 0x20 && byte < 0x7F)
            text += static_cast<char>(byte);
        else
            text += {'\\', 'x', digits[byte >> 4], digits[byte & 0xF]};
    }
    return text + "\"";
}

}  // namespace golden
