// SPDX-License-Identifier: BSD-3-Clause
// The bytes to and from whoever answers a session: over two pipes, or over one socket.
#pragma once

#include <list>
#include <span>
#include <vector>

#include "lighty/watch.h"
#include "mod_wscgi/framing.h"
#include "mod_wscgi/outbox.h"

namespace wscgi {

class Channel {
  public:
    // `ready(context, events)` is called from the event loop; see lighty::Watch.
    Channel(server* srv, fdevent_handler ready, void* context)
        : srv_(srv), ready_(ready), context_(context) {}

    // Take over the descriptors, which must be non-blocking: of two pipes, or of one socket. With
    // `packets` every piece that is written is one packet, and every packet is read by itself.
    void open_pipes(int write_end, int read_end);
    void open_socket(int fd, bool packets);

    // Writes the pieces, and keeps a copy of what the other side does not take. Nothing is to be
    // read from the client while input_blocked(), so that no more is kept than was read in one go.
    void write(const Gathered& gathered);
    bool input_blocked() const { return !kept_.empty(); }
    // Bytes that were kept.
    size_t kept() const;
    // Writes more of what was kept.
    void flush();
    // End of file, once what was kept is written.
    void close_input();

    // Whether the event loop has told that there is something to read, and not all of it was.
    bool readable() const { return readable_ && !output_ended_ && reader().is_open(); }
    // Reads what there is into `space`. 0: nothing now, or the end: see output_ended(). Costs
    // nothing if not readable().
    size_t read(std::span<uint8_t> space);
    bool output_ended() const { return output_ended_; }
    // True after output_ended() if it was by an error: the other side has vanished.
    bool broken() const { return broken_; }
    void end_output();

    // Whether lighttpd is to tell when there is more to read.
    void watch_output(bool wanted);

    void close();

  private:
    static handler_t event(void* context, int events);
    const lighty::Watch& reader() const { return one_socket_ ? input_ : output_; }
    void keep(const Gathered& gathered, size_t pieces_written, size_t bytes_written);
    void write_stream(const Gathered& gathered);
    bool write_together(Outbox& together, size_t& written);
    void write_packets(const Gathered& gathered);
    bool write_kept_piece();
    void input_failed();
    void update_interest();

    server* srv_;
    fdevent_handler ready_;
    void* context_;
    lighty::Watch input_;                   // to the other side; a socket is both
    lighty::Watch output_;                  // from it
    std::list<std::vector<uint8_t>> kept_;  // pieces that were not taken
    size_t written_ = 0;                    // bytes of the first of them
    bool one_socket_ = false;
    bool packets_ = false;
    bool watching_ = false;
    bool readable_ = false;
    bool close_input_ = false;  // when what was kept is written
    bool input_closed_ = false;
    bool output_ended_ = false;
    bool broken_ = false;
};

}  // namespace wscgi
