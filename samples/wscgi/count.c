// SPDX-License-Identifier: BSD-3-Clause
// Counts to ten, one number a second: each line is a message.
#include <stdio.h>
#include <unistd.h>

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);  // a pipe is buffered: without this, all ten come at the end
    for (int n = 1; n <= 10; ++n) {
        printf("%d\n", n);
        sleep(1);
    }
    return 0;
}
