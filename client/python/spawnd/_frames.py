"""Bytes <-> frames of ttrpc, and what stands inside them (docs/PROTOCOL.md, sections 2 and 3). Knows no socket."""
from __future__ import annotations

import collections
import struct
from typing import Deque, Iterator, List, NamedTuple, Optional, Tuple, Union

HEADER = struct.Struct(">IIBB")
REQUEST, RESPONSE, DATA = 1, 2, 3
REMOTE_CLOSED, REMOTE_OPEN, NO_DATA = 1, 2, 4
LENGTH_MAX = 4 << 20
DETAIL_TYPE = "type.googleapis.com/spawnd.v1.ErrorDetail"


class FormatError(Exception):
    """What came is not what the protocol says."""


class Frame(NamedTuple):
    stream: int
    type: int
    flags: int
    payload: bytes
    fds: List[int]  # owned by whoever gets the frame


class Splitter:
    """Cuts what comes into frames. Descriptors belong to the last frame that starts in the piece they came with."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = 0  # place of the buffer in all that came
        self._rights: Deque[Tuple[int, int, List[int]]] = collections.deque()

    def feed(self, data: bytes, fds: List[int]) -> Iterator[Frame]:
        if fds:
            came = self._start + len(self._buffer)
            self._rights.append((came, came + len(data), fds))
        self._buffer += data
        at = 0
        try:
            while len(self._buffer) - at >= HEADER.size:
                length, stream, kind, flags = HEADER.unpack_from(self._buffer, at)
                if length > LENGTH_MAX:
                    raise FormatError(f"a frame of {length} bytes")
                end = at + HEADER.size + length
                if end > len(self._buffer):
                    break
                payload = bytes(memoryview(self._buffer)[at + HEADER.size:end])
                frame = Frame(stream, kind, flags, payload, self._rights_of(self._start + at, self._start + end))
                at = end
                yield frame
        finally:
            del self._buffer[:at]
            self._start += at

    def _rights_of(self, start: int, end: int) -> List[int]:
        if self._rights and self._rights[0][0] <= start and end >= self._rights[0][1]:
            return self._rights.popleft()[2]
        return []

    def rest(self) -> Optional[Tuple[int, bytes, int]]:
        """(stream, bytes, how many are missing) of a Data frame that did not come whole."""
        if len(self._buffer) < HEADER.size:
            return None
        length, stream, kind, flags = HEADER.unpack_from(self._buffer)
        if kind != DATA or flags & NO_DATA:
            return None
        payload = bytes(self._buffer[HEADER.size:])
        return stream, payload, length - len(payload)

    def take_fds(self) -> List[int]:
        """Descriptors of frames that never came whole."""
        return [fd for _, _, fds in self._rights for fd in fds]


# ---- protobuf's wire format, as far as the envelope needs it ----


def _varint(data: Union[bytes, memoryview], at: int) -> Tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise FormatError("a message that ends in a number")


def fields(data: bytes, missing: int = 0) -> Iterator[Tuple[int, int, bytes]]:
    """(number, value, bytes) of each field; one of them is meant. The last may lack `missing` bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value, b""
        elif tag & 7 == 2:
            size, at = _varint(data, at)
            if at + size > len(data) + missing:
                raise FormatError("a message that ends in a field")
            yield tag >> 3, 0, data[at:at + size]
            at += size
        else:
            raise FormatError(f"a field of type {tag & 7}")


def _field(number: int, data: bytes) -> bytes:
    out, size = bytearray([number << 3 | 2]), len(data)
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    return bytes(out) + data


def encode_request(service: str, method: str, payload: bytes) -> bytes:
    """ttrpc.Request"""
    return _field(1, service.encode()) + _field(2, method.encode()) + _field(3, payload)


class Response(NamedTuple):
    """ttrpc.Response with its google.rpc.Status."""

    code: int
    message: str
    detail: bytes  # an encoded ErrorDetail
    payload: bytes


def decode_response(data: bytes) -> Response:
    code, message, detail, payload = 0, "", b"", b""
    for number, _, inner in fields(data):
        if number == 2:
            payload = inner
        elif number == 1:
            for part, value, content in fields(inner):
                if part == 1:
                    code = value
                elif part == 2:
                    message = content.decode(errors="replace")
                elif part == 3:
                    detail = _detail(content) or detail
    return Response(code, message, detail, payload)


def _detail(any_: bytes) -> bytes:
    parts = {number: content for number, _, content in fields(any_)}
    return parts.get(2, b"") if parts.get(1, b"").decode(errors="replace") == DETAIL_TYPE else b""


def partial_output(event: bytes, missing: int) -> Optional[Tuple[int, int, bytes]]:
    """(slot, offset, bytes) of an Output event whose last bytes are missing: its data is its last field."""
    try:
        slot = offset = 0
        for outer, _, body in fields(event, missing):
            if outer != 2:
                return None
            for number, value, data in fields(body, missing):
                if number == 1:
                    slot = value
                elif number == 2:
                    offset = value
                elif number == 15:
                    return (slot, offset, data) if data else None
    except FormatError:
        pass
    return None
