// SPDX-License-Identifier: BSD-3-Clause
// The load generator. See usage below; the result is one line of JSON on stdout.
//
// With --wait it prints "ready" when all connections are open and the echo of a first message was
// compared byte by byte, then waits for a line on stdin: so who measures the server knows when to
// begin. It exits with status 1 when anything goes wrong, and "error" in the result says what.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "client.h"

namespace bench {
namespace {

constexpr const char* usage =
    "usage: load --port PORT --path PATH [OPTION]...\n"
    "  --mode echo      (default) messages go to and fro on connections that stay\n"
    "         sessions  open, one message and its echo, close, again and again\n"
    "         hold      open, one message and its echo, then idle until stdin ends\n"
    "         unread    open and read nothing until stdin ends\n"
    "         shared    one sends, all receive; then it sends the next message\n"
    "  --connections N  at a time (default 32)\n"
    "  --depth N        messages in flight on each (default 1)\n"
    "  --size N         bytes of a message (default 16)\n"
    "  --text           text instead of binary messages\n"
    "  --deflate        messages are compressed\n"
    "  --stream         the server need not keep messages apart\n"
    "  --seconds S      (default 1) or  --count N  messages, or sessions\n"
    "  --stall S        seconds without any echo that make a failure (default 5)\n"
    "  --wait           see load.cpp\n";

struct Options {
    uint16_t port = 0;
    std::string path = "/";
    std::string mode = "echo";
    size_t connections = 32;
    size_t depth = 1;
    size_t size = 16;
    bool text = false;
    bool stream = false;
    bool deflate = false;
    double seconds = 1;
    uint64_t count = 0;
    double stall = 5;
    bool wait = false;
};

// Round trips in seconds, sorted into buckets that are 5 % wide.
class Histogram {
  public:
    void add(double seconds, size_t count) {
        const double bucket = std::log(std::max(seconds, 1e-6) * 1e6) / std::log(1.05);
        buckets_[std::min(static_cast<size_t>(bucket), buckets_.size() - 1)] += count;
        total_ += count;
    }
    double quantile(double q) const {
        uint64_t passed = 0;
        for (size_t i = 0; i < buckets_.size(); ++i)
            if ((passed += buckets_[i]) > q * static_cast<double>(total_))
                return 1e-6 * std::pow(1.05, static_cast<double>(i) + 0.5);
        return 0;
    }

  private:
    std::vector<uint64_t> buckets_ = std::vector<uint64_t>(400);
    uint64_t total_ = 0;
};

double own_cpu() {
    rusage usage_now;
    getrusage(RUSAGE_SELF, &usage_now);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
    };
    return seconds(usage_now.ru_utime) + seconds(usage_now.ru_stime);
}

class Load final : Observer {
  public:
    explicit Load(const Options& options)
        : options_(options),
          traffic_(options.size, options.text ? text : binary,
                   {options.stream, options.mode == "shared", options.deflate}) {}

    int run() {
        if (options_.mode == "sessions") {
            ready_ = options_.connections;
            begin();
        }
        for (size_t i = 0; i < options_.connections; ++i) open_one();
        progress_ = now_in_seconds();
        while (!over_) {
            loop_.turn(100);
            const double now = now_in_seconds();
            if (began_ && options_.count == 0 && now - began_ >= options_.seconds) over_ = true;
            if (now - progress_ > options_.stall) fail("stalled");
            if (!began_ && !over_ && ready_ == options_.connections) begin();
        }
        return report();
    }

  private:
    void open_one() {
        auto* const client = new Client(loop_, traffic_, *this);
        clients_.push_back(client);
        client->connect(options_.port, options_.path);
    }

    void opened(Client& client) override {
        progress_ = now_in_seconds();
        if (options_.mode == "unread") {
            client.stop_reading();
            ++ready_;
        } else if (options_.mode == "shared") {
            ++ready_;
        } else {
            client.send_messages(1);
        }
    }

    void echoed(Client& client, size_t count, double sent) override {
        const double now = progress_ = now_in_seconds();
        if (options_.mode == "sessions") {
            client.send_close();
        } else if (options_.mode == "shared") {
            heard(count);
        } else if (!began_) {
            ready_ += count;
        } else {
            done_ += count;
            round_trips_.add(now - sent, count);
            if (options_.count && done_ >= options_.count) over_ = true;
            // The last echoes are not waited for: the clock stops with work still in flight.
            if (!over_) client.send_messages(count);
        }
    }

    void heard(size_t count) {
        for (size_t i = 0; i < count; ++i)
            if (++done_ % options_.connections == 0) clients_.front()->send_messages(1);
        if (options_.count && done_ >= options_.count) over_ = true;
    }

    void ended(Client& client, const std::string& why) override {
        if (!why.empty()) return fail(why);
        progress_ = now_in_seconds();
        std::erase(clients_, &client);
        loop_.retire(&client);
        ++done_;
        if (options_.count && done_ >= options_.count) over_ = true;
        if (!over_) open_one();
    }

    // Everyone is connected.
    void begin() {
        if (options_.wait || options_.mode == "hold" || options_.mode == "unread") {
            puts("ready");
            fflush(stdout);
            while (getchar() != '\n')
                if (feof(stdin)) break;
        }
        began_ = progress_ = now_in_seconds();
        cpu_ = own_cpu();
        if (options_.mode == "hold" || options_.mode == "unread") over_ = true;
        if (options_.mode == "shared") clients_.front()->send_messages(1);
        if (options_.mode != "echo") return;
        for (Client* const client : clients_) client->send_messages(options_.depth);
    }

    void fail(const std::string& why) {
        if (error_.empty()) error_ = why;
        over_ = true;
    }

    int report() const {
        const double seconds = began_ ? now_in_seconds() - began_ : 0;
        printf(
            "{\"done\": %llu, \"seconds\": %.6f, \"per_second\": %.3f, \"cpu\": %.6f, "
            "\"p50\": %.7f, \"p99\": %.7f, \"error\": \"%s\"}\n",
            static_cast<unsigned long long>(done_), seconds,
            seconds > 0 ? static_cast<double>(done_) / seconds : 0, own_cpu() - cpu_,
            round_trips_.quantile(0.5), round_trips_.quantile(0.99), error_.c_str());
        return error_.empty() ? 0 : 1;
    }

    const Options options_;
    const Traffic traffic_;
    EventLoop loop_;
    std::vector<Client*> clients_;  // end with the process
    size_t ready_ = 0;              // that are open and have got their first echo
    double began_ = 0;
    double progress_ = 0;
    double cpu_ = 0;
    uint64_t done_ = 0;
    bool over_ = false;
    std::string error_;
    Histogram round_trips_;
};

Options read_options(int count, char** arguments) {
    const option names[] = {
        {"port", 1, nullptr, 'p'},        {"path", 1, nullptr, 'u'},   {"mode", 1, nullptr, 'm'},
        {"connections", 1, nullptr, 'c'}, {"depth", 1, nullptr, 'd'},  {"size", 1, nullptr, 's'},
        {"text", 0, nullptr, 't'},        {"stream", 0, nullptr, 'b'}, {"deflate", 0, nullptr, 'z'},
        {"seconds", 1, nullptr, 'S'},     {"count", 1, nullptr, 'n'},  {"stall", 1, nullptr, 'x'},
        {"wait", 0, nullptr, 'w'},        {nullptr, 0, nullptr, 0}};
    Options options;
    for (int name; (name = getopt_long(count, arguments, "", names, nullptr)) != -1;) {
        switch (name) {
            case 'p':
                options.port = static_cast<uint16_t>(atoi(optarg));
                break;
            case 'u':
                options.path = optarg;
                break;
            case 'm':
                options.mode = optarg;
                break;
            case 'c':
                options.connections = strtoul(optarg, nullptr, 10);
                break;
            case 'd':
                options.depth = strtoul(optarg, nullptr, 10);
                break;
            case 's':
                options.size = strtoul(optarg, nullptr, 10);
                break;
            case 't':
                options.text = true;
                break;
            case 'b':
                options.stream = true;
                break;
            case 'z':
                options.deflate = true;
                break;
            case 'S':
                options.seconds = atof(optarg);
                break;
            case 'n':
                options.count = strtoull(optarg, nullptr, 10);
                break;
            case 'x':
                options.stall = atof(optarg);
                break;
            case 'w':
                options.wait = true;
                break;
            default:
                options.port = 0;
                return options;
        }
    }
    return options;
}

}  // namespace
}  // namespace bench

int main(int count, char** arguments) {
    const bench::Options options = bench::read_options(count, arguments);
    if (options.port == 0 || options.size == 0 || options.connections == 0 || options.depth == 0) {
        fputs(bench::usage, stderr);
        return 2;
    }
    return bench::Load(options).run();
}
