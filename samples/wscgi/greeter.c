// SPDX-License-Identifier: BSD-3-Clause
// Reads names and greets each. The loop ends at the end of stdin: the client has gone.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    char *name = NULL;
    size_t space = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);  // a pipe is buffered: send each greeting at once
    while (getline(&name, &space, stdin) != -1) {
        name[strcspn(name, "\n")] = '\0';
        printf("Hello, %s!\n", name);
    }
    free(name);
    return 0;
}
