// SPDX-License-Identifier: BSD-3-Clause
// Several requests that go to a worker as one message.
#include "mod_fd_transfer/batch.h"

namespace fd_transfer {

bool Batch::add(process::HandoffRecord record, std::span<const uint8_t> data,
                std::span<const uint8_t> fields, int client) {
    const size_t size = process::handoff_header_size + data.size() + fields.size();
    if (count_ == clients_.size() || message_.size() + size > process::handoff_message_max)
        return false;
    record.data_length = uint32_t(data.size());
    record.fields_length = uint32_t(fields.size());
    uint8_t header[process::handoff_header_size];
    process::encode_handoff(record, header);
    message_.insert(message_.end(), header, header + sizeof(header));
    message_.insert(message_.end(), data.begin(), data.end());
    message_.insert(message_.end(), fields.begin(), fields.end());
    clients_[count_++] = client;
    return true;
}

process::PassingError Batch::send(const Channel& channel) const {
    if (count_ == 0) return process::PassingError::would_block;
    return process::send_message(channel.fd(), message_, {}, {clients_.data(), count_});
}

}  // namespace fd_transfer
