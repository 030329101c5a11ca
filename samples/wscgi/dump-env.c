// SPDX-License-Identifier: BSD-3-Clause
// Sends its environment, a message for each variable.
#include <stdio.h>

extern char **environ;

int main(void) {
    for (char **variable = environ; *variable; ++variable) puts(*variable);
    return 0;
}
