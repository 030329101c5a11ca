// SPDX-License-Identifier: BSD-3-Clause
// Whether a process is stopped.
#include "process/stopped.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <cstdio>

#include "process/file_descriptor.h"

namespace process {

bool is_stopped(pid_t pid) {
    char path[32];
    snprintf(path, sizeof(path), "/proc/%d/stat", int(pid));
    const FileDescriptor fd(open(path, O_RDONLY | O_CLOEXEC));
    char text[256];  // pid (name) state ...; a name has 64 bytes at most
    const ssize_t size = fd ? read(fd.get(), text, sizeof(text) - 1) : 0;
    if (size <= 0) return false;
    text[size] = '\0';
    // The name may hold parentheses of its own.
    const char* const end = strrchr(text, ')');
    return end && end[1] == ' ' && (end[2] == 'T' || end[2] == 't');
}

}  // namespace process
