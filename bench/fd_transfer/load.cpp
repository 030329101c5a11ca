// SPDX-License-Identifier: BSD-3-Clause
// A load generator that costs little: GET requests in turn on keep-alive connections, each answer
// checked (status 200, all bytes of Content-Length and none after them).
//
//   fdt_load PORT CONNECTIONS SECONDS PATH...
//
// Each connection asks for the paths one after the other and begins anew, without pipelining.
// Prints: requests per second, answers, errors, CPU seconds of its own per million answers. An
// error is another answer, a connection that ended before its answer, or one that has waited for
// a second at the end.
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bench/wscgi/event_loop.h"
#include "bench/wscgi/sockets.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Counters {
    uint64_t answers = 0;
    uint64_t errors = 0;
};

// The length of the whole answer that begins `bytes`; 0: its head is not there yet; npos: it is
// none of ours.
size_t length_of_answer(std::string_view bytes) {
    constexpr std::string_view good = "HTTP/1.1 200 ", field = "\r\nContent-Length: ";
    const size_t head = bytes.find("\r\n\r\n");
    if (head == bytes.npos) return bytes.size() < 16384 ? 0 : bytes.npos;
    const size_t at = bytes.find(field);
    if (!bytes.starts_with(good) || at >= head) return bytes.npos;
    return head + 4 + strtoull(bytes.data() + at + field.size(), nullptr, 10);
}

class Client : public bench::Handler {
  public:
    Client(bench::EventLoop& loop, uint16_t port, const std::vector<std::string>& requests,
           Counters& counters)
        : loop_(loop), port_(port), requests_(requests), counters_(counters) {
        connect();
    }

    void ready(uint32_t) override {
        if (connection_->blocked()) connection_->flush();
        const size_t size = connection_->receive(space_);
        answer_.append(reinterpret_cast<const char*>(space_), size);
        // One answer is due and no more: whatever comes with it is an error.
        const size_t length = length_of_answer(answer_);
        if (length > 0 && answer_.size() == length) {
            ++counters_.answers;
            if (connection_->is_open()) return ask();
        } else if (length > 0 && answer_.size() > length) {
            ++counters_.errors;
        } else if (connection_->is_open() && length != answer_.npos) {
            return;  // more is to come
        } else {
            ++counters_.errors;
        }
        connect();
    }

    bool stuck(Clock::time_point now) const { return now - asked_ > std::chrono::seconds(1); }

  private:
    void connect() {
        const int fd = bench::connect_to_port(port_);
        if (fd < 0) {
            fprintf(stderr, "nobody listens on port %d\n", port_);
            exit(1);
        }
        connection_ = std::make_unique<bench::Connection>(loop_, fd, *this);
        ask();
    }

    void ask() {
        answer_.clear();
        asked_ = Clock::now();
        const std::string& request = requests_[next_++ % requests_.size()];
        connection_->send({reinterpret_cast<const uint8_t*>(request.data()), request.size()});
    }

    static inline uint8_t space_[1 << 16];

    bench::EventLoop& loop_;
    uint16_t port_;
    const std::vector<std::string>& requests_;
    Counters& counters_;
    std::unique_ptr<bench::Connection> connection_;
    std::string answer_;
    size_t next_ = 0;
    Clock::time_point asked_;
};

double cpu_seconds() {
    rusage usage = {};
    getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& t) {
        return double(t.tv_sec) + double(t.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: fdt_load PORT CONNECTIONS SECONDS PATH...\n");
        return 2;
    }
    std::vector<std::string> requests;
    for (int i = 4; i < argc; ++i)
        requests.push_back("GET " + std::string(argv[i]) +
                           " HTTP/1.1\r\nHost: 127.0.0.1:" + argv[1] + "\r\n\r\n");
    Counters counters;
    bench::EventLoop loop;
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < atoi(argv[2]); ++i)
        clients.push_back(
            std::make_unique<Client>(loop, uint16_t(atoi(argv[1])), requests, counters));

    const auto start = Clock::now(), end = start + std::chrono::seconds(atoi(argv[3]));
    while (Clock::now() < end) loop.turn(100);

    const auto now = Clock::now();
    for (const auto& client : clients) counters.errors += client->stuck(now);
    const double answers = double(counters.answers ? counters.answers : 1);
    printf("%.0f %lu %lu %.2f\n",
           double(counters.answers) / std::chrono::duration<double>(now - start).count(),
           counters.answers, counters.errors, cpu_seconds() / answers * 1e6);
}
