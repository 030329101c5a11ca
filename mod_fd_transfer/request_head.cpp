// SPDX-License-Identifier: BSD-3-Clause
// The head of a request as lighttpd has decided about it.
#include "mod_fd_transfer/request_head.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "lighty/options.h"
#include "mod_fd_transfer/request_text.h"

namespace fd_transfer {
namespace {

using lighty::view;
using namespace std::string_view_literals;

bool equals_ignoring_case(const buffer& text, std::string_view other) {
    return buffer_eq_icase_slen(&text, other.data(), uint32_t(other.size()));
}

bool is_get_or_head(const request_st* r) {
    return r->http_method == HTTP_METHOD_GET || r->http_method == HTTP_METHOD_HEAD;
}

// Whether a field of the client's says the length that the body has now. After a redirect inside
// lighttpd, or if a module has changed the body, it does not.
bool says_length(const data_string& field, off_t length) {
    const std::string_view text = view(field.value);
    uint64_t said = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), said);
    return error == std::errc() && end == text.data() + text.size() && length >= 0 &&
           said == uint64_t(length);
}

// "Content-Length" in the place where it was, or at the end if there was none.
class LengthField {
  public:
    explicit LengthField(const request_st* r)
        : length_(off_t(r->reqbody_length)),
          needed_(length_ > 0 || (length_ == 0 && !is_get_or_head(r))) {}

    void replace(const data_string& field, RequestText& head) {
        if (says_length(field, length_)) {
            head.field(view(field.key), view(field.value));
            needed_ = false;
        } else {
            append_if_needed(head);
        }
    }

    void append_if_needed(RequestText& head) {
        if (needed_) head.field("Content-Length", std::to_string(length_));
        needed_ = false;
    }

  private:
    off_t length_;
    bool needed_;
};

// What mod_proxy keeps from backends.
bool is_withheld(const data_string& field, const request_st* r) {
    switch (field.ext) {
        case HTTP_HEADER_SET_COOKIE:  // of responses; a worker might reflect it
            return true;
        case HTTP_HEADER_TE:
            return r->http_version == HTTP_VERSION_1_0 ||
                   !equals_ignoring_case(field.value, "trailers");
        case HTTP_HEADER_OTHER:  // "Proxy" becomes HTTP_PROXY in CGI: https://httpoxy.org/
            return equals_ignoring_case(field.key, "Proxy-Connection") ||
                   equals_ignoring_case(field.key, "Proxy");
        default:
            return false;
    }
}

bool client_keeps_alive(const request_st* r) {
    const buffer* const connection =
        http_header_request_get(r, HTTP_HEADER_CONNECTION, CONST_STR_LEN("Connection"));
    const auto says = [connection](const char* token, uint32_t length) {
        return connection && http_header_str_contains_token(BUF_PTR_LEN(connection), token, length);
    };
    return r->http_version == HTTP_VERSION_1_1 ? !says(CONST_STR_LEN("close"))
                                               : says(CONST_STR_LEN("keep-alive"));
}

void write_fields(const request_st* r, RequestText& head) {
    LengthField length(r);
    const bool must_close = leftovers_follow(r) && client_keeps_alive(r);
    for (uint32_t i = 0; i < r->rqst_headers.used; ++i) {
        const auto& field = *reinterpret_cast<const data_string*>(r->rqst_headers.data[i]);
        switch (field.ext) {
            case HTTP_HEADER_HOST:               // written already
            case HTTP_HEADER_TRANSFER_ENCODING:  // only a module can have added that
                break;
            case HTTP_HEADER_CONTENT_LENGTH:
                length.replace(field, head);
                break;
            case HTTP_HEADER_CONNECTION:
                if (!must_close) head.field(view(field.key), view(field.value));
                break;
            default:
                if (!is_withheld(field, r)) head.field(view(field.key), view(field.value));
        }
    }
    length.append_if_needed(head);
    if (must_close) head.field("Connection", "close");
    if (r->reqbody_length < 0) head.field("Transfer-Encoding", "chunked");
}

bool ends_target(uint8_t byte) { return byte <= ' '; }

}  // namespace

bool has_transferable_method(const request_st* r) {
    return r->http_method != HTTP_METHOD_CONNECT && r->http_method != HTTP_METHOD_TRACE;
}

// lighttpd counts internal redirects, and gives up keep-alive if it then drops what it has not
// read. (If the client gave it up, what follows is no request either.)
bool leftovers_follow(const request_st* r) {
    return r->loops_per_request > 0 && r->keep_alive <= 0 && r->reqbody_length == 0;
}

bool write_head(const request_st* r, std::string& out) {
    const std::string_view target = view(r->target);
    if (target.empty() || std::any_of(target.begin(), target.end(), ends_target)) return false;
    buffer* const text = r->tmp_buf;
    buffer_clear(text);
    http_method_append(text, r->http_method);
    const std::string method(view(text));
    buffer_clear(text);
    http_version_append(text, r->http_version);
    out.reserve(r->rqst_header_len + size_t(256));  // what modules add, mostly
    RequestText head(out, method, target, view(text));
    if (r->http_host && !buffer_is_unset(r->http_host)) head.host(view(r->http_host));
    write_fields(r, head);
    head.end();
    return true;
}

}  // namespace fd_transfer
