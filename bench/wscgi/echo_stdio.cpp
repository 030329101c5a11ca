// SPDX-License-Identifier: BSD-3-Clause
// The program of one session: writes to stdout what it reads from stdin.
#include <unistd.h>

int main() {
    static char buffer[64 * 1024];
    for (ssize_t size; (size = read(0, buffer, sizeof buffer)) > 0;)
        for (ssize_t written = 0, n = 0; written < size; written += n)
            if ((n = write(1, buffer + written, static_cast<size_t>(size - written))) < 0) return 1;
}
