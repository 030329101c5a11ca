// SPDX-License-Identifier: BSD-3-Clause
// Reading a table of options such as ( "bin-path" => "/usr/bin/x", "workers" => 2 ), strictly:
// what is unknown, of the wrong type or out of range is an error that says where, what and how
// to mend it.
#pragma once

#include <stdint.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "lighty/lighttpd.h"

namespace lighty {

inline std::string_view view(const buffer& b) { return {b.ptr ? b.ptr : "", buffer_clen(&b)}; }
inline std::string_view view(const buffer* b) { return b ? view(*b) : std::string_view(); }

// Writes one line to the server's error log: "<where>: <what>; <remedy>".
void report(log_error_st* errh, std::string_view where, std::string_view what,
            std::string_view remedy);

class Options {
  public:
    // `where` names the directive and entry: `fd-transfer.server "/hot/"`.
    Options(const array& table, std::string where, log_error_st* errh);

    bool has(std::string_view key);

    // Each returns the value of `key`, or `otherwise` if there is none, or if it is wrong; then
    // the error is logged and failed() is true.
    std::string text(std::string_view key, std::string_view otherwise = {});
    int64_t number(std::string_view key, int64_t least, int64_t most, int64_t otherwise);
    bool flag(std::string_view key, bool otherwise);  // "enable" or "disable"
    // The index of the value in `names`.
    size_t choice(std::string_view key, std::initializer_list<std::string_view> names,
                  size_t otherwise);
    // A list of strings, or one string. Empty if there is none.
    std::vector<std::string> list(std::string_view key);
    // A table of name => string or number.
    std::vector<std::pair<std::string, std::string>> table(std::string_view key);

    // Logs an error about `key`, as the above do.
    void fail(std::string_view key, std::string_view what, std::string_view remedy);

    // To be called last: what has not been asked for by then is unknown. Returns !failed().
    bool finish();
    bool failed() const { return failed_; }

  private:
    const data_unset* find(std::string_view key);

    const array& table_;
    std::string where_;
    log_error_st* errh_;
    std::vector<std::string> known_;
    bool failed_ = false;
};

// Calls read(key, options) for each entry of a directive of the form
//   ( "/prefix/" => ( "key" => value, ... ), ... )   or, as lighttpd's own backends write it,
//   ( "/prefix/" => (( "key" => value, ... )), ... ).
// Stops at, and returns, the first false.
template <class Read>
bool for_each_entry(const array& entries, std::string_view directive, log_error_st* errh,
                    Read read);

// What is behind one entry, unwrapped; nullptr (and an error in the log) if it is no table.
const array* entry_table(const data_unset& entry, std::string_view directive, log_error_st* errh);

template <class Read>
bool for_each_entry(const array& entries, std::string_view directive, log_error_st* errh,
                    Read read) {
    for (uint32_t i = 0; i < entries.used; ++i) {
        const data_unset& entry = *entries.data[i];
        const array* const table = entry_table(entry, directive, errh);
        if (!table) return false;
        const std::string_view key = view(entry.key);
        Options options(*table, std::string(directive) + " \"" + std::string(key) + '"', errh);
        if (!read(key, options)) return false;
    }
    return true;
}

}  // namespace lighty
