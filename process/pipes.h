// SPDX-License-Identifier: BSD-3-Clause
// The pipes between a server and a program it starts.
#pragma once

#include "process/file_descriptor.h"

namespace process {

// Both ends of the three pipes. Ours are non-blocking, the program's are not; all of them are
// close-on-exec, which spawn() lifts from the program's.
struct Pipes {
    FileDescriptor write_input, read_output, read_error;          // ours
    FileDescriptor program_input, program_output, program_error;  // the program's

    // Makes all three. False, with errno set and nothing left open, if a descriptor is lacking.
    bool open();
};

}  // namespace process
