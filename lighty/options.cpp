// SPDX-License-Identifier: BSD-3-Clause
// Reading a table of options, strictly.
#include "lighty/options.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace lighty {
namespace {

std::string quoted(std::string_view text) {
    return std::string(1, '"').append(text).append(1, '"');
}

// Lists and tables hold strings and integers; anything else is none.
std::optional<std::string> scalar(const data_unset& value) {
    if (value.type == TYPE_STRING)
        return std::string(view(reinterpret_cast<const data_string&>(value).value));
    if (value.type == TYPE_INTEGER)
        return std::to_string(reinterpret_cast<const data_integer&>(value).value);
    return std::nullopt;
}

std::optional<int64_t> integer(const data_unset& value) {
    const std::optional<std::string> text = scalar(value);
    if (!text) return std::nullopt;
    int64_t number = 0;
    const char* const end = text->data() + text->size();
    const auto [stop, error] = std::from_chars(text->data(), end, number);
    if (error != std::errc() || stop != end) return std::nullopt;
    return number;
}

const array* table_of(const data_unset& value) {
    if (value.type != TYPE_ARRAY) return nullptr;
    return &reinterpret_cast<const data_array&>(value).value;
}

}  // namespace

void report(log_error_st* errh, std::string_view where, std::string_view what,
            std::string_view remedy) {
    log_error(errh, __FILE__, __LINE__, "%.*s: %.*s; %.*s", static_cast<int>(where.size()),
              where.data(), static_cast<int>(what.size()), what.data(),
              static_cast<int>(remedy.size()), remedy.data());
}

Options::Options(const array& table, std::string where, log_error_st* errh)
    : table_(table), where_(std::move(where)), errh_(errh) {}

const data_unset* Options::find(std::string_view key) {
    known_.emplace_back(key);
    for (uint32_t i = 0; i < table_.used; ++i)
        if (view(table_.data[i]->key) == key) return table_.data[i];
    return nullptr;
}

void Options::fail(std::string_view key, std::string_view what, std::string_view remedy) {
    report(errh_, where_ + " " + quoted(key), what, remedy);
    failed_ = true;
}

bool Options::has(std::string_view key) { return find(key) != nullptr; }

std::string Options::text(std::string_view key, std::string_view otherwise) {
    const data_unset* const value = find(key);
    if (!value) return std::string(otherwise);
    if (value->type != TYPE_STRING) {
        fail(key, "is not a string", "write it in double quotes");
        return std::string(otherwise);
    }
    return *scalar(*value);
}

int64_t Options::number(std::string_view key, int64_t least, int64_t most, int64_t otherwise) {
    const data_unset* const value = find(key);
    if (!value) return otherwise;
    const std::optional<int64_t> number = integer(*value);
    if (number && *number >= least && *number <= most) return *number;
    const std::string shown = scalar(*value).value_or("a list");
    fail(key, quoted(shown) + " is not a number in range",
         "use " + std::to_string(least) + " to " + std::to_string(most) + ", " +
             std::to_string(otherwise) + " is the default");
    return otherwise;
}

bool Options::flag(std::string_view key, bool otherwise) {
    return choice(key, {"disable", "enable"}, otherwise ? 1 : 0) == 1;
}

size_t Options::choice(std::string_view key, std::initializer_list<std::string_view> names,
                       size_t otherwise) {
    const data_unset* const value = find(key);
    if (!value) return otherwise;
    const std::optional<std::string> text = scalar(*value);
    const auto found = std::find(names.begin(), names.end(), text.value_or(""));
    if (text && found != names.end()) return static_cast<size_t>(found - names.begin());
    std::string remedy = "use one of";
    for (const std::string_view name : names) remedy += " " + quoted(name);
    fail(key, "unknown value " + quoted(text.value_or("(a list)")), remedy);
    return otherwise;
}

std::vector<std::string> Options::list(std::string_view key) {
    std::vector<std::string> values;
    const data_unset* const value = find(key);
    if (!value) return values;
    if (value->type == TYPE_STRING) return {*scalar(*value)};
    const array* const table = table_of(*value);
    for (uint32_t i = 0; table && i < table->used; ++i) {
        if (std::optional<std::string> text = scalar(*table->data[i])) {
            values.push_back(std::move(*text));
            continue;
        }
        fail(key, "holds something that is no string", "write ( \"one\", \"two\" )");
    }
    if (!table) fail(key, "is not a list", "write ( \"one\", \"two\" )");
    return values;
}

std::vector<std::pair<std::string, std::string>> Options::table(std::string_view key) {
    std::vector<std::pair<std::string, std::string>> values;
    const data_unset* const value = find(key);
    if (!value) return values;
    const array* const table = table_of(*value);
    for (uint32_t i = 0; table && i < table->used; ++i) {
        std::optional<std::string> text = scalar(*table->data[i]);
        const std::string_view name = view(table->data[i]->key);
        if (text && !name.empty()) {
            values.emplace_back(name, std::move(*text));
            continue;
        }
        fail(key, "holds something that is no NAME => \"value\"",
             "write ( \"NAME\" => \"value\" )");
    }
    if (!table) fail(key, "is not a table", "write ( \"NAME\" => \"value\" )");
    return values;
}

bool Options::finish() {
    for (uint32_t i = 0; i < table_.used; ++i) {
        const std::string_view key = view(table_.data[i]->key);
        if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
        std::string remedy = "known are";
        for (const std::string& name : known_) remedy += " " + quoted(name);
        fail(key, "unknown option", remedy);
    }
    return !failed_;
}

const array* entry_table(const data_unset& entry, std::string_view directive, log_error_st* errh) {
    const array* table = table_of(entry);
    // (( ... )): a list of one table
    if (table && table->used == 1 && table->data[0]->type == TYPE_ARRAY &&
        !buffer_clen(&table->data[0]->key))
        table = table_of(*table->data[0]);
    if (!table)
        report(errh, std::string(directive) + " " + quoted(view(entry.key)),
               "has no table of options", "write \"/prefix/\" => ( \"option\" => \"value\" )");
    return table;
}

}  // namespace lighty
