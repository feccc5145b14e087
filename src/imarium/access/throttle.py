"""Slows guessing down: logins that fail in a row cost time, by account and by address."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from blake3 import blake3
from sqlalchemy import case, delete, or_, select, update
from sqlalchemy.exc import IntegrityError as UniqueViolation

from imarium.catalog import Catalog
from imarium.catalog.dialects import utc
from imarium.catalog.people import Attempts
from imarium.catalog.tables import now
from imarium.errors import TooManyAttemptsError

FREE = {"account": 5, "address": 20, "registrations": 5}
"""Attempts in a row that cost nothing; each further one doubles the wait."""
_FIRST_WAIT = timedelta(seconds=1)
_LONGEST_WAIT = timedelta(minutes=15)
_FORGOTTEN = timedelta(hours=24)
"""After so long without an attempt, the count starts again."""
_MOST_DOUBLINGS = 16
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""Whoever need not wait need not have come in any order: of several at once the clock decides nothing."""


class Throttle:
    """Counts in the catalog, so that all processes of a server know. Names are kept as keyed digests."""

    def __init__(self, catalog: Catalog, secret: bytes) -> None:
        self._catalog, self._secret = catalog, secret

    def begin(self, **sources: str | None) -> None:
        """Count an attempt by what it comes from: `account`, `address`, ...

        It counts as failed until `succeeded` says otherwise, so that many at once gain nothing. Raises
        TooManyAttemptsError if one of the sources has to wait; that attempt does not count.
        """
        keys = self._keys(sources)
        moment = now()
        with self._catalog.session() as session:
            waits = session.execute(
                select(Attempts.blocked_until).where(
                    Attempts.key.in_(list(keys)), Attempts.blocked_until > moment
                )
            ).scalars()
            longest = max((utc(wait) for wait in waits), default=None)
        if longest is not None:
            raise _too_many(longest - moment)
        for key, kind in keys.items():
            self._count(key, FREE[kind], moment)

    def succeeded(self, **sources: str | None) -> None:
        """Forget the attempts of these sources."""
        with self._catalog.session() as session:
            session.execute(delete(Attempts).where(Attempts.key.in_(list(self._keys(sources)))))
            session.execute(delete(Attempts).where(Attempts.last < now() - _FORGOTTEN))

    def take_back(self, **sources: str | None) -> None:
        """Have the last attempt of these sources not count; those before it still do."""
        with self._catalog.session() as session:
            session.execute(
                update(Attempts)
                .where(Attempts.key.in_(list(self._keys(sources))), Attempts.failures > 0)
                .values(failures=Attempts.failures - 1, blocked_until=_LONG_AGO)
            )

    def _keys(self, sources: Mapping[str, str | None]) -> dict[str, str]:
        return {
            blake3(f"{kind}:{value}".encode(), key=self._secret).hexdigest(): kind
            for kind, value in sorted(sources.items())
            if value is not None
        }

    def _count(self, key: str, free: int, moment: datetime) -> None:
        """One statement decides who comes first; whoever comes while another waits is refused."""
        try:
            with self._catalog.session() as session:
                stale = Attempts.last < moment - _FORGOTTEN
                won = session.execute(
                    update(Attempts)
                    .where(Attempts.key == key, or_(Attempts.blocked_until <= moment, stale))
                    .values(failures=case((stale, 1), else_=Attempts.failures + 1), last=moment)
                    .returning(Attempts.failures)
                ).scalar()
                if won is not None:
                    wait = wait_after(won, free)
                    until = moment + wait if wait else _LONG_AGO
                    session.execute(update(Attempts).where(Attempts.key == key).values(blocked_until=until))
                    return
                blocked = session.scalar(select(Attempts.blocked_until).where(Attempts.key == key))
                if blocked is not None:
                    raise _too_many(utc(blocked) - moment)
                session.add(Attempts(key=key, failures=1, last=moment, blocked_until=_LONG_AGO))
        except UniqueViolation:
            self._count(key, free, moment)  # another process was quicker; its row is there now


def wait_after(failures: int, free: int) -> timedelta:
    """How long to wait after so many attempts in a row."""
    if failures < free:
        return timedelta(0)
    doubled: int = 2 ** min(failures - free, _MOST_DOUBLINGS)
    return min(_LONGEST_WAIT, _FIRST_WAIT * doubled)


def _too_many(wait: timedelta) -> TooManyAttemptsError:
    seconds = max(1, -(-int(wait.total_seconds() * 1000) // 1000))
    return TooManyAttemptsError(f"too many attempts; try again in {seconds} s", seconds)
