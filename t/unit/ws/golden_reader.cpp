// SPDX-License-Identifier: BSD-3-Clause
// Reads golden files. See golden/README.md for the format.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "golden.h"

namespace golden {
namespace {

class Reader {
  public:
    explicit Reader(const std::string& path) : path_(path), file_(path) {
        if (!file_) complain("cannot be read");
    }

    std::vector<Case> cases() {
        for (std::string text; std::getline(file_, text);) {
            line_++;
            line_text_ = text;
            words_.clear();
            words_.str(text);
            std::string first;
            if (!(words_ >> first) || first[0] == '#') continue;
            if (first == "==")
                begin_case();
            else if (cases_.empty())
                complain("before the first case");
            else if (first == ">")
                add_input();
            else if (first == "<")
                add_expected();
            else
                add_setting(first);
        }
        return std::move(cases_);
    }

  private:
    [[noreturn]] void complain(const char* what) {
        fprintf(stderr, "%s:%d: %s: %s\n", path_.c_str(), line_, what, line_text_.c_str());
        exit(1);
    }

    uint64_t number() {
        uint64_t value;
        if (!(words_ >> std::dec >> value)) complain("a number is missing");
        return value;
    }

    void begin_case() {
        Case c;
        c.file = path_;
        c.line = line_;
        std::getline(words_ >> std::ws, c.name);
        cases_.push_back(c);
    }

    void add_setting(const std::string& key) {
        Case& c = cases_.back();
        std::string value;
        if (key == "role" && words_ >> value)
            c.roles = {value == "client" ? ws::Role::client : ws::Role::server};
        else if (key == "deflate")
            c.deflate = true;
        else if (key == "max_message")
            c.limits.max_message = number();
        else if (key == "max_frame")
            c.limits.max_frame = number();
        else if (key == "max_fragments")
            c.limits.max_fragments = static_cast<uint32_t>(number());
        else
            complain("not a setting");
    }

    void add_input() {
        Case& c = cases_.back();
        if (c.steps.empty() || !c.steps.back().expected.empty()) c.steps.emplace_back();
        std::string kind;
        words_ >> kind;
        Input input;
        static const std::pair<const char*, int> opcodes[] = {{"continuation", 0}, {"text", 1},
                                                              {"binary", 2},       {"close", 8},
                                                              {"ping", 9},         {"pong", 10}};
        bool known = kind == "bytes" || kind == "opcode";
        input.raw = kind == "bytes";
        if (kind == "opcode") input.opcode = static_cast<uint8_t>(number());
        for (const auto& [name, opcode] : opcodes)
            if (kind == name) {
                known = true;
                input.opcode = static_cast<uint8_t>(opcode);
            }
        if (!known) complain("not a kind of frame");
        std::string word;
        while (peek(word) && flag(word, input)) continue;
        input.payload = payload();
        for (const auto role : {ws::Role::server, ws::Role::client}) {
            Bytes& all = c.steps.back().input[static_cast<int>(role)];
            const Bytes more = input.encode(role);
            all.insert(all.end(), more.begin(), more.end());
        }
    }

    bool peek(std::string& word) {
        words_.clear();
        const auto place = words_.tellg();
        const bool there = static_cast<bool>(words_ >> word);
        words_.clear();
        words_.seekg(place);
        return there;
    }

    // Takes `word` from the line if it is a flag.
    bool flag(const std::string& word, Input& input) {
        if (word == "more")
            input.fin = false;
        else if (word == "wrong_mask")
            input.wrong_mask = true;
        else if (word == "deflated")
            input.deflated = true;
        else if (word == "len16" || word == "len64")
            input.length_form = word == "len16" ? 16 : 64;
        else if (word != "rsv" && word != "length")
            return false;
        std::string taken;
        words_ >> taken;
        if (word == "rsv") input.rsv = static_cast<uint8_t>(number());
        if (word == "length") input.claimed_length = number();
        return true;
    }

    Bytes payload() {
        Bytes all, item;
        std::string word;
        while (words_ >> std::ws && !words_.eof()) {
            if (words_.peek() == '"') {
                item = quoted();
            } else {
                words_ >> word;
                if (word == "hex")
                    item = hex();
                else if (word == "code")
                    item = code();
                else
                    complain("not part of a payload");
            }
            size_t times = 1;
            if (peek(word) && word == "x") {
                words_ >> word;
                times = number();
            }
            for (; times > 0; times--) all.insert(all.end(), item.begin(), item.end());
        }
        return all;
    }

    Bytes quoted() {
        Bytes bytes;
        words_.get();
        for (int c = words_.get(); c != '"'; c = words_.get()) {
            if (c == EOF) complain("the quote does not end");
            if (c == '\\' && (c = words_.get()) == 'x') {
                const char digits[3] = {char(words_.get()), char(words_.get()), 0};
                c = static_cast<int>(strtol(digits, nullptr, 16));
            }
            bytes.push_back(static_cast<uint8_t>(c));
        }
        return bytes;
    }

    Bytes hex() {
        Bytes bytes;
        for (std::string word;
             peek(word) && word.size() == 2 && isxdigit(word[0]) && isxdigit(word[1]);
             words_ >> word)
            bytes.push_back(static_cast<uint8_t>(strtol(word.c_str(), nullptr, 16)));
        return bytes;
    }

    Bytes code() {
        const uint64_t value = number();
        return {static_cast<uint8_t>(value >> 8), static_cast<uint8_t>(value)};
    }

    void add_expected() {
        Case& c = cases_.back();
        if (c.steps.empty()) complain("a log without input");
        std::string words, word;
        while (peek(word) && word[0] != '"' && word != "hex") {
            words_ >> word;
            words += word + " ";
        }
        // Closes that are sent and errors are a code only.
        if (words == "nothing ") {
            c.steps.emplace_back();
            return;
        }
        if (words.starts_with("error") || words.starts_with("sends close"))
            words.pop_back();
        else
            words += quote(payload());
        c.steps.back().expected.push_back(words);
    }

    std::string path_;
    std::ifstream file_;
    int line_ = 0;
    std::string line_text_;
    std::istringstream words_;
    std::vector<Case> cases_;
};

}  // namespace

std::vector<Case> load(const std::string& path) { return Reader(path).cases(); }

}  // namespace golden
