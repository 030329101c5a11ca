// SPDX-License-Identifier: BSD-3-Clause
// A program's stderr in the server's error log.
#include "mod_wscgi/error_output.h"

#include <unistd.h>

#include "lighty/options.h"

namespace wscgi {
namespace {

constexpr uint32_t lines_per_second = 100;
constexpr size_t longest_line = 1024;

}  // namespace

void ErrorOutput::open(server* srv, int fd, std::string label) {
    srv_ = srv;
    label_ = std::move(label);
    watch_.open(srv, fd, ready, this);
    watch_.want(FDEVENT_IN);
}

handler_t ErrorOutput::ready(void* context, int) {
    static_cast<ErrorOutput*>(context)->read();
    return HANDLER_FINISHED;
}

void ErrorOutput::read() {
    if (!watch_.is_open()) return;
    char buffer[4096];
    const ssize_t size = ::read(watch_.fd(), buffer, sizeof(buffer));
    if (size > 0) text_.append(buffer, static_cast<size_t>(size));
    log_complete_lines(size == 0);
    if (size == 0) watch_.close();
}

void ErrorOutput::close() {
    read();
    log_complete_lines(true);
    watch_.close();
}

void ErrorOutput::log_complete_lines(bool end) {
    size_t position = 0;
    for (;;) {
        const size_t newline = text_.find('\n', position);
        if (newline == text_.npos) break;
        log(std::string_view(text_).substr(position, newline - position));
        position = newline + 1;
    }
    text_.erase(0, position);
    if (text_.size() >= longest_line || (end && !text_.empty())) {
        log(text_);
        text_.clear();
    }
    if (end && suppressed_) {
        lines_ = 0;
        log("");
    }
}

void ErrorOutput::log(std::string_view line) {
    if (second_ != log_monotonic_secs) {
        second_ = log_monotonic_secs;
        lines_ = 0;
    }
    if (lines_ >= lines_per_second) {
        ++suppressed_;
        return;
    }
    ++lines_;
    std::string text(line.substr(0, longest_line));
    if (suppressed_) text += " (" + std::to_string(suppressed_) + " lines before it were dropped)";
    suppressed_ = 0;
    log_error(srv_->errh, __FILE__, __LINE__, "%s: %s", label_.c_str(), text.c_str());
}

}  // namespace wscgi
