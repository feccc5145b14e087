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


class NotFoundError(ImariumError):
    """No collection, study, series, pack or upload with that identifier."""

    code = "not-found"


class GoneError(NotFoundError):
    """What was asked for was there, and was erased or moved while it was read."""

    code = "gone"


class AuthenticationError(ImariumError):
    """No valid login, or wrong credentials."""

    code = "login-required"


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
