"""The one tree of errors. Faces map these to exit codes and HTTP answers; nothing here knows a protocol.

Messages say what was expected, what was found and what to do next. They never hold names, dates of
birth or identifiers of patients.
"""

from __future__ import annotations

from pathlib import Path


class ImariumError(Exception):
    """Base of every error that Imarium raises on purpose."""

    code = "error"


class InvalidRequestError(ImariumError):
    """The caller asked for something that makes no sense: a bad argument, level or name."""

    code = "invalid-request"


class LevelError(InvalidRequestError):
    """A resolution level or size that the series does not have."""

    code = "no-such-level"


class ExportRefusedError(InvalidRequestError):
    """The format hierarchy forbids the export (a NIfTI cannot become DICOM, for example)."""

    code = "export-refused"


class QuerySyntaxError(InvalidRequestError):
    """A query that cannot be read, or asks for what there is not.

    `position` counts the characters before what is wrong; None where the query did not come as text.
    """

    code = "query-syntax"

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.position = position

    def marked(self, query: str) -> str:
        """The line of the query that is wrong, and below it a caret where; "" if that is not known."""
        if self.position is None:
            return ""
        start = query.rfind("\n", 0, self.position) + 1
        line = query[start:].partition("\n")[0].replace("\t", " ")
        return f"{line}\n{' ' * (self.position - start)}^"


class PolicyError(InvalidRequestError):
    """A de-identification policy that cannot be used; `line` is the line of its file, from 1."""

    code = "policy"

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = line


class NotFoundError(ImariumError):
    """No collection, study, series, pack or upload with that identifier."""

    code = "not-found"


class GoneError(NotFoundError):
    """What was asked for was there, and was erased or moved while it was read."""

    code = "gone"


class AuthenticationError(ImariumError):
    """No valid login, or wrong credentials."""

    code = "login-required"


class PermissionDeniedError(ImariumError):
    """Somebody who is known may not do this; the message says what is missing."""

    code = "forbidden"


class TooManyAttemptsError(ImariumError):
    """Too many logins failed in a row; `seconds` is when to try again."""

    code = "too-many-attempts"

    def __init__(self, message: str, seconds: int = 1) -> None:
        super().__init__(message)
        self.seconds = seconds


class RefusedFileError(ImariumError):
    """A source file that cannot be taken in; the message is the reason shown to the user.

    `path` names the file where one of several is to blame; the message never does.
    """

    code = "refused"

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


class UnrecognisedFileError(RefusedFileError):
    """The content is of no format that Imarium reads."""

    code = "unrecognised"


class CorruptFileError(RefusedFileError):
    """The file is of a known format but truncated, inconsistent or undecodable."""

    code = "corrupt"


class LimitExceededError(RefusedFileError):
    """The file, or what it claims to hold, is beyond a configured limit."""

    code = "limit-exceeded"


class UnsupportedFileError(RefusedFileError):
    """A valid file whose content Imarium cannot keep exactly (no pixel data, unknown encoding)."""

    code = "unsupported"


class QuarantineError(RefusedFileError):
    """A file that may not be released: it was not, or could not be, de-identified as its policy demands."""

    code = "quarantine"


class IntegrityError(ImariumError):
    """Stored bytes do not match their checksum or digest, or an encoding did not verify."""

    code = "integrity"


class StorageError(ImariumError):
    """The object store or the catalog could not be read or written (full disk, permissions)."""

    code = "storage"


class ConcurrentWriteError(StorageError):
    """Another process stored the same content in the meantime; trying again finds it."""

    code = "concurrent-write"


class TransportError(ImariumError):
    """A server could not be reached or answered outside the protocol."""

    code = "transport"


class MissingProgramError(ImariumError):
    """A program that this task needs is not installed; the message says how to get it."""

    code = "missing-program"


class FaceRemovalError(InvalidRequestError):
    """A face cannot be removed: no geometry, no head, or not enough of one."""

    code = "no-face-removal"
