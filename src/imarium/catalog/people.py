"""Tables of people: accounts, logins and tokens, roles, agreements, requests for access."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, String, Text, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column, relationship

from imarium.catalog.tables import Base, Collection, now


class User(Base):
    """An account."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    password: Mapped[str] = mapped_column(Text)
    """An argon2id hash; empty where the account has none."""
    created: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
    email: Mapped[str | None] = mapped_column(String(254))
    status: Mapped[str] = mapped_column(String(16), default="approved", server_default="approved")
    """`access.accounts.Standing`: waiting, approved or disabled."""
    is_administrator: Mapped[bool] = mapped_column(default=False, server_default=false())


class Token(Base):
    """A login, or a token that a person made for a program; only a digest of it is kept."""

    __tablename__ = "tokens"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    expires: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    kind: Mapped[str] = mapped_column(String(16), default="session", server_default="session")
    """session, or token."""
    name: Mapped[str] = mapped_column(String(100), default="", server_default="")
    scopes: Mapped[str] = mapped_column(String(100), default="", server_default="")
    """Of a token, with blanks between them; a login has all."""
    created: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), default=now)
    last_used: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    user: Mapped[User] = relationship()


class Identity(Base):
    """What a provider of logins calls the person of an account."""

    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    issuer: Mapped[str] = mapped_column(String(500))
    subject: Mapped[str] = mapped_column(String(255))
    created: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)


class PendingLogin(Base):
    """A login that a provider has been asked for; used once."""

    __tablename__ = "pending_logins"
    state: Mapped[str] = mapped_column(String(64), primary_key=True)
    """A digest of it."""
    nonce: Mapped[str] = mapped_column(String(64))
    verifier: Mapped[str] = mapped_column(String(128))
    expires: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Attempts(Base):
    """Logins that failed in a row, by account or address."""

    __tablename__ = "attempts"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    """A keyed digest: people type passwords where names belong."""
    failures: Mapped[int] = mapped_column(default=0)
    last: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
    blocked_until: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)


class RoleRow(Base):
    """What a person may do in a collection."""

    __tablename__ = "roles"
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    collection_id: Mapped[int] = mapped_column(
        ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[str] = mapped_column(String(16))
    granted: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
    granted_by: Mapped[str] = mapped_column(String(100), default="", server_default="")
    ends: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    user: Mapped[User] = relationship()
    collection: Mapped[Collection] = relationship()


class Agreement(Base):
    """A version of the agreement of a collection; never changed."""

    __tablename__ = "agreements"
    collection_id: Mapped[int] = mapped_column(
        ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
    created_by: Mapped[str] = mapped_column(String(100), default="", server_default="")


class Acceptance(Base):
    """Who accepted which version of an agreement, and when."""

    __tablename__ = "acceptances"
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    collection_id: Mapped[int] = mapped_column(
        ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    accepted: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
    user: Mapped[User] = relationship()


class AccessRequest(Base):
    """A person asks for a role in a collection."""

    __tablename__ = "access_requests"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    """The collection's name as it was asked for."""
    collection_id: Mapped[int | None] = mapped_column(
        ForeignKey("collections.id", ondelete="CASCADE"), index=True
    )
    """None where there is no such collection, which whoever asks does not get to know."""
    role: Mapped[str] = mapped_column(String(16))
    purpose: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
    status: Mapped[str] = mapped_column(String(16), default="open", server_default="open")
    """open, granted or refused."""
    reason: Mapped[str] = mapped_column(Text, default="", server_default="")
    decided: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    decided_by: Mapped[str | None] = mapped_column(String(100))
    ends: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    user: Mapped[User] = relationship()
