// SPDX-License-Identifier: BSD-3-Clause
// Runs a fuzz target over the files and folders it is given: what the fuzzers start from, and what
// they once found, is tried in every build, with any compiler.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
    int count = 0;
    for (int i = 1; i < argc; i++)
        for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i])) {
            if (!entry.is_regular_file()) continue;
            printf("%s\n", entry.path().c_str());
            fflush(stdout);
            std::ifstream file(entry.path(), std::ios::binary);
            const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
            // In memory of exactly its size.
            const std::vector<uint8_t> data(bytes.begin(), bytes.end());
            LLVMFuzzerTestOneInput(data.data(), data.size());
            count++;
        }
    printf("%d inputs\n", count);
    return count > 0 ? 0 : 1;
}
