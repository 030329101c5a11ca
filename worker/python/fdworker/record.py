# SPDX-License-Identifier: BSD-3-Clause
"""The hand-off record: layout, encoder and decoder (doc/handoff-record.md).

The same layout as process/handoff_record.h; both are tested with t/unit/record/vectors.txt.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Iterator

HEADER = struct.Struct("<4sBBHQIIQ")
MAGIC = b"LFDT"
VERSION = 1
INLINE_MAX = 65536  # bytes of data that travel in the record
MEMFD_MAX = 1 << 24  # bytes of data in a memfd
MESSAGE_MAX = HEADER.size + INLINE_MAX
FDS_MAX = 2


class Kind(enum.IntEnum):
    """What a record is for."""

    REQUEST = 1
    HELLO = 2
    TAKEN = 3
    RETURN = 4


class Flag:
    """Bits of `Record.flags`; all others are zero."""

    IN_MEMFD = 1
    RAW_STAGE = 2
    WANTS_TAKEN = 4
    WITHOUT_SOCKET = 8
    TAKES_BATCHES = 16


class Reason(enum.Enum):
    """Why a message was refused. The values are the names used in the test vectors."""

    SHORT_HEADER = "short_header"
    BAD_MAGIC = "bad_magic"
    BAD_VERSION = "bad_version"
    BAD_KIND = "bad_kind"
    BAD_FLAGS = "bad_flags"
    BAD_LENGTHS = "bad_lengths"
    MISSING_FD = "missing_fd"
    TOO_MANY_FDS = "too_many_fds"
    TRUNCATED_DATA = "truncated_data"
    TRUNCATED_FDS = "truncated_fds"
    SHORT_MEMFD = "short_memfd"
    NOT_FOR_WORKERS = "not_for_workers"
    NOT_A_SOCKET = "not_a_socket"


TEXTS = {
    Reason.SHORT_HEADER: "record is shorter than its 32-byte header",
    Reason.BAD_MAGIC: "record has the wrong magic (not a hand-off)",
    Reason.BAD_VERSION: "record has a version other than 1 (server and fdworker differ)",
    Reason.BAD_KIND: "record is of an unknown kind",
    Reason.BAD_FLAGS: "record has flags that its kind does not know",
    Reason.BAD_LENGTHS: "record's lengths contradict each other, the message or the limits",
    Reason.MISSING_FD: "record came without the file descriptors it needs",
    Reason.TOO_MANY_FDS: "record came with more file descriptors than it needs",
    Reason.TRUNCATED_DATA: "message is longer than the largest record",
    Reason.TRUNCATED_FDS: "no file descriptor is free (raise RLIMIT_NOFILE, or serve fewer clients "
    "at once); nothing is received until one is, for a second at least",
    Reason.SHORT_MEMFD: "the memfd holds less than the record says",
    Reason.NOT_FOR_WORKERS: "record is of a kind that only a worker sends",
    Reason.NOT_A_SOCKET: "the record's file descriptor is no stream socket",
}


class RecordError(Exception):
    """A message was refused; every fd that came with it is closed. Go on with the next one."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(TEXTS[reason])
        self.reason = reason


@dataclass(frozen=True)
class Record:
    """The header's fields."""

    kind: Kind
    flags: int = 0
    id: int = 0
    socket_index: int = 0
    head_length: int = 0
    data_length: int = 0

    @property
    def in_memfd(self) -> bool:
        return bool(self.flags & Flag.IN_MEMFD)

    @property
    def without_socket(self) -> bool:
        return bool(self.flags & Flag.WITHOUT_SOCKET)

    @property
    def inline_length(self) -> int:
        return 0 if self.in_memfd else self.data_length

    @property
    def fds_expected(self) -> int:
        carries_socket = self.kind in (Kind.REQUEST, Kind.RETURN) and not self.without_socket
        return carries_socket + self.in_memfd


ALLOWED_FLAGS = {
    Kind.REQUEST: Flag.IN_MEMFD | Flag.RAW_STAGE | Flag.WANTS_TAKEN,
    Kind.HELLO: Flag.TAKES_BATCHES,
    Kind.TAKEN: 0,
    Kind.RETURN: Flag.IN_MEMFD | Flag.WITHOUT_SOCKET,
}


def encode(record: Record) -> bytes:
    """The 32 header bytes."""
    return HEADER.pack(
        MAGIC, VERSION, record.kind, record.flags, record.id,
        record.socket_index, record.head_length, record.data_length,
    )  # fmt: skip


def decode(message: bytes, fd_count: int) -> Record:
    """Reads and judges one whole message that came with `fd_count` fds (which it leaves alone).

    Raises RecordError.
    """
    record = read(message)
    if fd_count < record.fds_expected:
        raise RecordError(Reason.MISSING_FD)
    if fd_count > record.fds_expected:
        raise RecordError(Reason.TOO_MANY_FDS)
    return record


def split(message: bytes) -> Iterator[bytes]:
    """The records of a message that may hold several, none of them judged yet."""
    while True:
        size = len(message)
        if size >= HEADER.size:
            _, _, _, flags, _, _, _, length = HEADER.unpack_from(message)
            size = min(size, HEADER.size + (0 if flags & Flag.IN_MEMFD else length))
        yield message[:size]
        message = message[size:]
        if not message:
            return


def read(message: bytes) -> Record:
    """The same, but for the number of fds."""
    if len(message) < HEADER.size:
        raise RecordError(Reason.SHORT_HEADER)
    magic, version, kind, flags, *numbers = HEADER.unpack_from(message)
    if magic != MAGIC:
        raise RecordError(Reason.BAD_MAGIC)
    if version != VERSION:
        raise RecordError(Reason.BAD_VERSION)
    if not Kind.REQUEST <= kind <= Kind.RETURN:
        raise RecordError(Reason.BAD_KIND)
    if flags & ~ALLOWED_FLAGS[kind]:
        raise RecordError(Reason.BAD_FLAGS)
    record = Record(Kind(kind), flags, *numbers)
    if record.in_memfd and record.without_socket:
        raise RecordError(Reason.BAD_FLAGS)
    if not _lengths_agree(record, len(message)):
        raise RecordError(Reason.BAD_LENGTHS)
    return record


def _lengths_agree(record: Record, message_size: int) -> bool:
    if record.data_length > (MEMFD_MAX if record.in_memfd else INLINE_MAX):
        return False
    if message_size != HEADER.size + record.inline_length:
        return False
    if record.kind == Kind.REQUEST:
        return 0 < record.head_length <= record.data_length
    if record.kind == Kind.RETURN:
        return record.head_length == 0
    return record.head_length == 0 and record.data_length == 0
