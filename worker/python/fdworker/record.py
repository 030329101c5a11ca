# SPDX-License-Identifier: BSD-3-Clause
"""The hand-off record: layout, encoder and decoder (doc/handoff-record.md).

The same layout as process/handoff_record.h; both are tested with t/unit/record/vectors.txt.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Iterator, Mapping

HEADER = struct.Struct("<4sBBHQIIII")
FIELD = struct.Struct("<HH")
MAGIC = b"LFDT"
VERSION = 2
INLINE_MAX = 65536  # bytes of data that travel in the record
FIELDS_MAX = 4096  # bytes of optional fields
MEMFD_MAX = 1 << 30  # bytes of data in a memfd
MESSAGE_MAX = HEADER.size + INLINE_MAX + FIELDS_MAX
FDS_MAX = 2


class Kind(enum.IntEnum):
    """What a record is for."""

    REQUEST = 1
    HELLO = 2
    TAKEN = 3
    RETURN = 4
    DONE = 5


class Flag:
    """Bits of `Record.flags`; all others are zero."""

    IN_MEMFD = 1
    RAW_STAGE = 2
    WANTS_TAKEN = 4
    WITHOUT_SOCKET = 8
    TAKES_BATCHES = 16
    END_CONNECTION = 32
    SAYS_DONE = 64


class Field(enum.IntEnum):
    """Types of optional fields: 1 to 5 in requests, from 16 on in what a worker says of its answer.

    Numbers are little-endian; their width in bytes stands in NUMBERS, all others are text.
    """

    CLIENT_ADDRESS = 1
    CLIENT_PORT = 2
    SCHEME = 3
    USER = 4
    BODY_LIMIT = 5
    STATUS = 16
    BYTES = 17


NUMBERS = {Field.CLIENT_PORT: 2, Field.BODY_LIMIT: 8, Field.STATUS: 2, Field.BYTES: 8}


class Reason(enum.Enum):
    """Why a message was refused. The values are the names used in the test vectors."""

    SHORT_HEADER = "short_header"
    BAD_MAGIC = "bad_magic"
    BAD_VERSION = "bad_version"
    BAD_KIND = "bad_kind"
    BAD_FLAGS = "bad_flags"
    BAD_LENGTHS = "bad_lengths"
    BAD_FIELDS = "bad_fields"
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
    Reason.BAD_VERSION: "record has a version other than 2 (server and fdworker differ)",
    Reason.BAD_KIND: "record is of an unknown kind",
    Reason.BAD_FLAGS: "record has flags that its kind does not know",
    Reason.BAD_LENGTHS: "record's lengths contradict each other, the message or the limits",
    Reason.BAD_FIELDS: "record's optional fields do not end where their section does",
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
    fields_length: int = 0

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
    def message_length(self) -> int:
        return HEADER.size + self.inline_length + self.fields_length

    @property
    def fds_expected(self) -> int:
        carries_socket = self.kind in (Kind.REQUEST, Kind.RETURN) and not self.without_socket
        return carries_socket + self.in_memfd


ALLOWED_FLAGS = {
    Kind.REQUEST: Flag.IN_MEMFD | Flag.RAW_STAGE | Flag.WANTS_TAKEN,
    Kind.HELLO: Flag.TAKES_BATCHES | Flag.SAYS_DONE,
    Kind.TAKEN: 0,
    Kind.RETURN: Flag.IN_MEMFD | Flag.WITHOUT_SOCKET | Flag.END_CONNECTION,
    Kind.DONE: 0,
}


def encode(record: Record) -> bytes:
    """The 32 header bytes."""
    return HEADER.pack(
        MAGIC, VERSION, record.kind, record.flags, record.id,
        record.socket_index, record.head_length, record.data_length, record.fields_length,
    )  # fmt: skip


def encode_fields(fields: Mapping[Field, int | str]) -> bytes:
    """The optional fields of a record, in the order given."""
    parts = []
    for kind, value in fields.items():
        content = value.encode() if isinstance(value, str) else value.to_bytes(NUMBERS[kind], "little")
        parts.append(FIELD.pack(kind, len(content)) + content)
    return b"".join(parts)


def decode_fields(section: bytes) -> dict[int, bytes]:
    """The optional fields by type, the unknown ones too; the last of each type counts.

    Raises RecordError.
    """
    fields: dict[int, bytes] = {}
    offset = 0
    while offset < len(section):
        if offset + FIELD.size > len(section):
            raise RecordError(Reason.BAD_FIELDS)
        kind, length = FIELD.unpack_from(section, offset)
        offset += FIELD.size + length
        if offset > len(section):
            raise RecordError(Reason.BAD_FIELDS)
        fields[kind] = section[offset - length : offset]
    return fields


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
            _, _, _, flags, _, _, _, length, fields = HEADER.unpack_from(message)
            size = min(size, HEADER.size + (0 if flags & Flag.IN_MEMFD else length) + fields)
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
    if not Kind.REQUEST <= kind <= Kind.DONE:
        raise RecordError(Reason.BAD_KIND)
    if flags & ~ALLOWED_FLAGS[kind]:
        raise RecordError(Reason.BAD_FLAGS)
    record = Record(Kind(kind), flags, *numbers)
    if record.in_memfd and record.without_socket:
        raise RecordError(Reason.BAD_FLAGS)
    if not _lengths_agree(record, len(message)):
        raise RecordError(Reason.BAD_LENGTHS)
    decode_fields(message[record.message_length - record.fields_length :])
    return record


def _lengths_agree(record: Record, message_size: int) -> bool:
    if record.data_length > (MEMFD_MAX if record.in_memfd else INLINE_MAX):
        return False
    if record.fields_length > FIELDS_MAX or message_size != record.message_length:
        return False
    if record.kind == Kind.REQUEST:
        return 0 < record.head_length <= record.data_length
    if record.kind == Kind.RETURN:
        return record.head_length == 0
    return record.head_length == 0 and record.data_length == 0
