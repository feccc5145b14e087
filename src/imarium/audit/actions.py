"""The closed lists of an audit record: what can be done, to what, and how it can end."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """What was done. `description` says when it is recorded."""

    description: str

    def __new__(cls, value: str, description: str = "") -> Action:
        """A text that knows what it means."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member

    SERVER_STARTED = "server-started", "a server began to answer"
    SERVER_STOPPED = "server-stopped", "a server ended as it should"
    LOGIN = "login", "someone logged in, or tried to"
    LOGOUT = "logout", "someone logged out"
    PASSWORD_RESET = "password-reset", "an account got a new password"
    ACCOUNT_CREATED = "account-created", "an account was made or asked for"
    ACCOUNT_CHANGED = "account-changed", "an account was approved, blocked, or otherwise changed"
    ACCOUNT_REMOVED = "account-removed", "an account was removed"
    TOKEN_CREATED = "token-created", "a personal token was made"
    TOKEN_REVOKED = "token-revoked", "a token or a session was revoked"
    ROLE_CHANGED = "role-changed", "a role in a collection was given or taken away"
    AGREEMENT_CHANGED = "agreement-changed", "the terms under which a collection may be used were changed"
    AGREEMENT_ACCEPTED = "agreement-accepted", "someone accepted the terms of a collection"
    ACCESS_REQUESTED = "access-requested", "someone asked for access to a collection"
    ACCESS_DECIDED = "access-decided", "a request for access was granted or refused"
    QUERY = "query", "lists of studies or series were looked at, or a search was run"
    VIEWED = "viewed", "facts, reports, pictures or pixels were read"
    EXPORTED = "exported", "a series or a collection left in some format"
    LISTED_FOR_DOWNLOAD = "listed-for-download", "a manifest was made: where the bytes of series lie"
    INGESTED = "ingested", "files were taken in"
    STORED = "stored", "a series was stored, or grew"
    LABELLED = "labelled", "labels, codes, reports or facts of subjects were set or removed"
    COLLECTION_CHANGED = (
        "collection-changed",
        "a collection was made, or its page, its terms or its readers changed",
    )
    VERSION_FROZEN = "version-frozen", "a version of a collection was frozen"
    TRANSFER_BEGUN = "transfer-begun", "a collection began to go to another server"
    TRANSFERRED = "transferred", "a collection went to another server, or came from one"
    DEIDENTIFIED = "deidentified", "images were de-identified"
    REIDENTIFIED = "reidentified", "a custodian asked who is behind a pseudonym"
    QUARANTINE_DECIDED = "quarantine-decided", "what was held back was released, mended or refused"
    POLICY_CHANGED = "policy-changed", "a policy of de-identification was changed or chosen"
    VERIFIED = "verified", "everything that is stored was compared with its digests"
    CATALOG_REBUILT = "catalog-rebuilt", "headers of all series were read into the catalog again"
    ERASURE_PLANNED = "erasure-planned", "someone looked at what an erasure would remove"
    ERASED = "erased", "images were removed for good"
    ERASURE_LIFTED = "erasure-lifted", "images that were erased may come again"
    AUDIT_READ = "audit-read", "the audit record was read or exported"
    AUDIT_VERIFIED = "audit-verified", "the audit record was checked"
    AUDIT_RENEWED = "audit-renewed", "the audit record's checkpoint was signed anew, over what was there"
    AUDIT_LOST = "audit-lost", "events could not be recorded in time; the details say how many"


class ObjectKind(StrEnum):
    """What an object is."""

    NONE = ""
    SERIES = "series"
    STUDY = "study"
    SUBJECT = "subject"
    COLLECTION = "collection"
    USER = "user"
    POLICY = "policy"
    REQUEST = "request"


class Outcome(StrEnum):
    """How it ended."""

    SUCCESS = "success"
    REFUSED = "refused"
    """Not allowed: no login, a wrong password, no permission."""
    FAILED = "failed"
    """A request that could not be met: what it asked for is not there, or makes no sense."""
    ERROR = "error"
    """The server's fault, or broken off in the middle."""
