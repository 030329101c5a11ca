// SPDX-License-Identifier: BSD-3-Clause
// The pipes between a server and a program it starts.
#include "process/pipes.h"

#include <errno.h>
#include <fcntl.h>

namespace process {
namespace {

bool open_pipe(FileDescriptor& reader, FileDescriptor& writer, FileDescriptor& ours) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    reader.reset(ends[0]);
    writer.reset(ends[1]);
    return fcntl(ours.get(), F_SETFL, O_NONBLOCK) == 0;
}

}  // namespace

bool Pipes::open() {
    if (open_pipe(program_input, write_input, write_input) &&
        open_pipe(read_output, program_output, read_output) &&
        open_pipe(read_error, program_error, read_error))
        return true;
    const int error = errno;
    *this = Pipes();
    errno = error;
    return false;
}

}  // namespace process
