"""The reply to a gRPC call, taken from its frames as grpc-go takes it.

From ``http2_client.go`` (``operateHeaders``, ``handleData``) and ``http_util.go`` in grpc-go's
``internal/transport``, and from ``csAttempt.recvMsg``.
"""

import asyncio
import base64
import re
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

from osm_healthcheck.wire.errors import WireError
from osm_healthcheck.wire.grpc_message import (
    PIECE_BYTES,
    FirstField,
    MessageError,
    MessageReader,
)
from osm_healthcheck.wire.header_block import Field
from osm_healthcheck.wire.http2_frames import Frame, parse_integer, quoted

_CONTENT_TYPE = re.compile(rb"application/grpc(?:[+;].*)?", re.DOTALL)
_MAX_DETAIL_BYTES = 1024  # an event is cut there
# base64.StdEncoding, and base64.RawStdEncoding where the length is no multiple of four
_PADDED = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_UNPADDED = re.compile(rb"(?:[A-Za-z0-9+/]{4})*[A-Za-z0-9+/]{2,3}")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
_DETAILS = b"grpc-status-details-bin"
_READ = frozenset(
    {b":status", b"content-type", b"grpc-encoding", b"grpc-status", b"grpc-message", _DETAILS}
)
_HTTP_STATUSES = {
    400: "Internal",
    401: "Unauthenticated",
    403: "PermissionDenied",
    404: "Unimplemented",
    429: "Unavailable",
    502: "Unavailable",
    503: "Unavailable",
    504: "Unavailable",
}
_CODES = (
    "OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied "
    "ResourceExhausted FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable "
    "DataLoss Unauthenticated"
).split()


class StatusError(WireError):
    """A call that ended with another status than OK; ``code`` is its name in grpc-go."""

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"rpc error: code = {code} desc = {detail}")


def keeps(name: bytes, value: bytes) -> bool:
    """Whether a reply is read by this header: of all others only that they are well-formed."""
    return name in _READ or (name.endswith(b"-bin") and not _is_base64(value))


class Reply:
    """A reply as its frames come; ``is_whole`` says that nothing follows."""

    def __init__(self) -> None:
        self.is_whole = False
        self._has_headers = False
        self._message = MessageReader()

    async def take_headers(self, frame: Frame) -> None:
        """Take a frame of HEADERS, which may be the trailers. Others get their turn meanwhile.

        Raises:
            StatusError: where the call has failed.
        """
        if self._has_headers and not frame.ends_stream:
            raise StatusError("Internal", "a HEADERS frame cannot appear in the middle of a stream")
        if frame.truncated:
            raise StatusError("Internal", "peer header list size exceeded limit")
        head = _Head(frame.fields)
        if not (self._has_headers or head.is_grpc):
            head.refuse(ends_stream=frame.ends_stream)
            return  # an informational one
        if head.error:
            raise StatusError("Internal", head.error)
        if not frame.ends_stream:
            self._has_headers = True
            self._message.encoding = head.encoding
            return
        await self._finish(head)

    def take_data(self, data: bytes, *, ends_stream: bool) -> None:
        """Take a piece of the message.

        Raises:
            StatusError: where the call has failed.
        """
        try:
            self._message.feed(data)
            if ends_stream:
                self._message.finish()
        except MessageError as error:
            raise StatusError(error.code, str(error)) from None
        if ends_stream:
            raise StatusError("Internal", "server closed the stream without sending trailers")

    @property
    def status(self) -> int:
        """The ``status`` field of the message in a whole reply."""
        return self._message.finish() or 0

    async def _finish(self, head: "_Head") -> None:
        try:
            message = self._message.finish()
        except MessageError as error:
            raise StatusError(error.code, str(error)) from None
        await head.check_status()
        if message is None:
            raise StatusError(
                "Internal",
                "cardinality violation: received no response message from non-server-streaming RPC",
            )
        self.is_whole = True


class _Head:
    """What one header list says about a call."""

    def __init__(self, fields: tuple[Field, ...]) -> None:
        self.is_grpc = False
        self.error = ""
        self.encoding = b""
        self._http_status = b""
        self._content_type_error = "malformed header: missing HTTP content-type"
        self._code = 2
        self._message = ""
        self._details: list[bytes] = []
        for name, value in fields:
            self._take(name, value)

    def _take(self, name: bytes, value: bytes) -> None:
        match name:
            case b"content-type" if _CONTENT_TYPE.fullmatch(value):
                self._content_type_error = ""
                self.is_grpc = True
            case b"content-type":
                self._content_type_error = (
                    f"transport: received unexpected content-type {quoted(value)}"
                )
            case b"grpc-encoding":
                self.encoding = value
            case b"grpc-status":
                self._code = _status_code(value)
            case b"grpc-message":
                message = unquote_to_bytes(value[:_MAX_DETAIL_BYTES])
                self._message = message.decode("utf-8", "replace")
            case b":status":
                self._http_status = value
            case _ if not _is_base64(value):
                field = name[:_MAX_DETAIL_BYTES].decode()
                at = _base64_error(value)
                self.error = f"transport: malformed {field}: illegal base64 data at input byte {at}"
            case _:
                self._details.append(value)

    def refuse(self, *, ends_stream: bool) -> None:
        """Say what is wrong with a head that is not gRPC's; an informational one is not."""
        problems = []
        code = "Internal"
        if not self._http_status:
            problems.append("malformed header: missing HTTP status")
        else:
            try:
                status = parse_integer(self._http_status, 64)
            except ValueError as error:
                reason = f"transport: malformed http-status: strconv.Atoi: {error}"
                raise StatusError("Internal", reason) from None
            if 100 <= status < 200:
                if not ends_stream:
                    return
                raise StatusError(
                    "Internal",
                    f"protocol error: informational header with status code {status} must not "
                    "have END_STREAM set",
                )
            code = _HTTP_STATUSES.get(status, "Unknown")
            problems.append(
                f"unexpected HTTP status code received from server: {status} ({_phrase(status)})"
            )
        if self._content_type_error:
            problems.append(self._content_type_error)
        raise StatusError(code, "; ".join(problems))

    async def check_status(self) -> None:
        """Refuse every status but OK."""
        if len(self._details) == 1:  # google.rpc.Status, whose first field is the code
            detailed = await _first_field(_decode_base64(self._details[0]))
            if detailed is not None and detailed != self._code:
                raise StatusError(
                    "Internal",
                    f"grpc-status-details-bin mismatch: grpc-status={_code_name(self._code)}, "
                    f"grpc-message={quoted(self._message.encode())}, "
                    f"grpc-status-details-bin=code:{detailed}",
                )
        if self._code:
            raise StatusError(_code_name(self._code), self._message)


def _status_code(value: bytes) -> int:
    try:
        return parse_integer(value, 32)
    except ValueError as error:
        reason = f"transport: malformed grpc-status: strconv.ParseInt: {error}"
        raise StatusError("Unknown", reason) from None


def _code_name(code: int) -> str:
    return _CODES[code] if 0 <= code < len(_CODES) else f"Code({code % 2**32})"


def _phrase(status: int) -> str:
    """Go's ``http.StatusText``."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _is_base64(value: bytes) -> bool:
    return bool((_UNPADDED if len(value) % 4 else _PADDED).fullmatch(value))


def _base64_error(value: bytes) -> int:
    """Where ``base64.CorruptInputError`` sees the mistake."""
    wrong = _NOT_BASE64.search(value)
    return wrong.start() if wrong else len(value) // 4 * 4


def _decode_base64(value: bytes) -> bytes:
    return base64.b64decode(value + b"=" * (-len(value) % 4))


async def _first_field(message: bytes) -> int | None:
    field = FirstField()
    try:
        for at in range(0, len(message), PIECE_BYTES):
            if at:
                await asyncio.sleep(0)
            field.feed(message[at : at + PIECE_BYTES])
        field.finish()
    except MessageError:
        return None
    return field.value
