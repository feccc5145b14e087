"""Logins by a provider (OpenID Connect Core 1.0): the authorization code flow with PKCE, state and nonce."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from blake3 import blake3
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError as UniqueViolation
from sqlalchemy.orm import Session

from imarium.access.accounts import Accounts, Standing, checked_name
from imarium.access.sessions import Login
from imarium.catalog import Catalog
from imarium.catalog.dialects import utc
from imarium.catalog.people import Identity, PendingLogin, User
from imarium.catalog.tables import now
from imarium.errors import AuthenticationError, InvalidRequestError, TooManyAttemptsError, TransportError
from imarium.settings import Oidc

if TYPE_CHECKING:
    import httpx
    from joserfc.jwk import KeySet

_LIFETIME = timedelta(minutes=10)
"""Between the start of a login and its end."""
_MOST_PENDING = 10_000
_KEPT_SECONDS = 3600.0
"""For which the provider's description is used without asking again."""
_KEYS_EVERY = 30.0
"""Seconds at least between two looks for new keys, which anybody could ask for with a made-up token."""
_TIMEOUT = 10.0
_MOST_BYTES = 1 << 20
_LEEWAY = 60
"""Seconds by which clocks may differ."""
_ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
"""Asymmetric ones: a token signed with a secret, or with nothing, is none."""
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Started:
    """A login that has begun: where the browser goes, and what it must bring back."""

    url: str
    state: str


@dataclass(frozen=True, slots=True)
class _Described:
    """What the provider says of itself."""

    facts: Mapping[str, Any]
    until: float


class SignIn:
    """Has a provider say who somebody is, and finds or makes their account."""

    def __init__(self, settings: Oidc, catalog: Catalog, accounts: Accounts) -> None:
        """Raises InvalidRequestError for an issuer that is not reached over https, or at this machine."""
        address = urlsplit(settings.issuer)
        if address.scheme != "https" and not (address.scheme == "http" and address.hostname in _LOCAL):
            raise InvalidRequestError("the issuer of logins is an address that begins with https://")
        self.settings, self._catalog, self._accounts = settings, catalog, accounts
        self._lock = threading.Lock()
        self._described: _Described | None = None
        self._keys: KeySet | None = None
        self._keys_asked = -_KEYS_EVERY

    # --- the flow -----------------------------------------------------------------------------------

    def start(self, redirect_uri: str) -> Started:
        """Begin a login. Raises TransportError if the provider cannot be asked, and TooManyAttemptsError."""
        # Both take long to load, and few commands and servers have a provider.
        from authlib.oauth2.rfc6749.parameters import prepare_grant_uri  # noqa: PLC0415
        from authlib.oauth2.rfc7636 import create_s256_code_challenge  # noqa: PLC0415

        facts = self._facts()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        with self._catalog.session() as session:
            session.execute(delete(PendingLogin).where(PendingLogin.expires < now()))
            if (session.scalar(select(func.count()).select_from(PendingLogin)) or 0) >= _MOST_PENDING:
                raise TooManyAttemptsError("too many logins have begun; try again in a minute", 60)
            session.add(
                PendingLogin(state=_digest(state), nonce=nonce, verifier=verifier, expires=now() + _LIFETIME)
            )
        url = prepare_grant_uri(
            facts["authorization_endpoint"],
            self.settings.client_id,
            "code",
            redirect_uri=redirect_uri,
            scope=self.settings.scopes,
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return Started(str(url), state)

    def finish(self, redirect_uri: str, state: str, code: str, issuer: str | None = None) -> Login:
        """End a login with what the browser brought back, once. `issuer` is the answer's iss (RFC 9207).

        Raises AuthenticationError for all that does not fit, PermissionDeniedError for an account that waits
        for approval or is disabled, and TransportError.
        """
        with self._catalog.session() as session:
            pending = session.execute(
                delete(PendingLogin)
                .where(PendingLogin.state == _digest(state))
                .returning(PendingLogin.nonce, PendingLogin.verifier, PendingLogin.expires)
            ).one_or_none()
        if pending is None or utc(pending.expires) < now():
            raise AuthenticationError(
                "this login was not begun here, has ended or took too long; begin again"
            )
        facts = self._facts()
        told = facts.get("authorization_response_iss_parameter_supported") is True
        if issuer != self.settings.issuer and (issuer is not None or told):
            raise AuthenticationError("another provider answered than the one that was asked")
        tokens = self._exchange(facts, redirect_uri, code, pending.verifier)
        id_token = tokens.get("id_token")
        if not isinstance(id_token, str):
            raise AuthenticationError("the provider's answer says of nobody who it is")
        claims = self.verified(id_token, pending.nonce)
        return self._open(claims | self._further(facts, tokens, claims["sub"]))

    def _exchange(
        self, facts: Mapping[str, Any], redirect_uri: str, code: str, verifier: str
    ) -> Mapping[str, Any]:
        """The code for tokens. Raises AuthenticationError and TransportError."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
            "client_id": self.settings.client_id,
        }
        secret, basic = self.settings.client_secret, None
        if secret is not None:
            methods = facts.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
            if "client_secret_basic" in methods:
                basic = (self.settings.client_id, secret)
            else:
                form["client_secret"] = secret
        return self._json("POST", facts["token_endpoint"], data=form, auth=basic)

    def verified(self, id_token: str, nonce: str) -> dict[str, Any]:
        """The claims of an ID token (OpenID Connect Core 1.0, 3.1.3.7). Raises AuthenticationError."""
        from joserfc import jwt  # noqa: PLC0415 - see `start`
        from joserfc.errors import InvalidKeyIdError, JoseError  # noqa: PLC0415

        try:
            try:
                token = jwt.decode(id_token, self._key_set(), algorithms=_ALGORITHMS)
            except InvalidKeyIdError:
                token = jwt.decode(id_token, self._key_set(anew=True), algorithms=_ALGORITHMS)
            claims = token.claims
            jwt.JWTClaimsRegistry(
                leeway=_LEEWAY,
                iss={"essential": True, "value": self.settings.issuer},
                aud={"essential": True, "value": self.settings.client_id},
                sub={"essential": True},
                exp={"essential": True},
                iat={"essential": True},
                nonce={"essential": True, "value": nonce},
            ).validate(claims)
        except (JoseError, ValueError, TypeError) as error:
            raise AuthenticationError(
                f"what the provider says of who it is cannot be trusted ({type(error).__name__})"
            ) from error
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if several else self.settings.client_id) != self.settings.client_id:
            raise AuthenticationError("what the provider says was said to another program")
        if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255:
            raise AuthenticationError("the provider's answer says of nobody who it is")
        return dict(claims)

    def _further(self, facts: Mapping[str, Any], tokens: Mapping[str, Any], subject: str) -> dict[str, Any]:
        """What the provider tells of the person beside the token: name, address, groups."""
        endpoint, token = facts.get("userinfo_endpoint"), tokens.get("access_token")
        if not isinstance(endpoint, str) or not isinstance(token, str):
            return {}
        told = self._json("GET", endpoint, headers={"Authorization": f"Bearer {token}"})
        if told.get("sub") != subject:
            raise AuthenticationError("the provider speaks of two people at once")
        names = ("preferred_username", "email", "email_verified", self.settings.groups_claim)
        return {name: told[name] for name in names if name in told}

    # --- accounts -----------------------------------------------------------------------------------

    def _open(self, claims: Mapping[str, Any]) -> Login:
        """A login of the account that belongs to the person; made if there is none."""
        for _ in range(5):
            try:
                with self._catalog.session() as session:
                    user = self._known(session, claims["sub"]) or self._made(session, claims)
                    group = self.settings.administrators
                    if group is not None:
                        user.is_administrator = group in _groups(claims.get(self.settings.groups_claim))
                    number = user.id
                # A transaction of its own: one that waits for approval must be kept.
                with self._catalog.session() as session:
                    return self._accounts.sessions.open(session, session.get_one(User, number))
            except UniqueViolation:
                continue  # the name was taken in between, or this very person is logging in twice
        raise AuthenticationError("the account could not be made; try again")

    def _known(self, session: Session, subject: str) -> User | None:
        return session.scalar(
            select(User)
            .join(Identity, Identity.user_id == User.id)
            .where(Identity.issuer == self.settings.issuer, Identity.subject == subject)
        )

    def _made(self, session: Session, claims: Mapping[str, Any]) -> User:
        """A new account. It is never one that exists: names and addresses prove nothing."""
        standing = Standing.APPROVED if self.settings.approve else Standing.WAITING
        email = claims.get("email")
        kept = email if isinstance(email, str) and len(email) <= 254 else None
        user = User(name=_free_name(session, claims), password="", status=standing, email=kept)
        session.add(user)
        session.flush()
        session.add(Identity(user_id=user.id, issuer=self.settings.issuer, subject=claims["sub"]))
        session.flush()
        return user

    # --- asking the provider ------------------------------------------------------------------------

    def _facts(self) -> Mapping[str, Any]:
        """The provider's description of itself (OpenID Connect Discovery 1.0, 4)."""
        with self._lock:
            if self._described is None or self._described.until < time.monotonic():
                address = f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"
                facts = self._json("GET", address)
                if facts.get("issuer") != self.settings.issuer:
                    raise AuthenticationError(
                        "the provider calls itself another issuer than the settings; they must be the same "
                        "to the letter"
                    )
                for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                    if not isinstance(facts.get(name), str):
                        raise TransportError(f"the provider's description lacks its {name}")
                self._described = _Described(facts, time.monotonic() + _KEPT_SECONDS)
            return self._described.facts

    def _key_set(self, *, anew: bool = False) -> KeySet:
        from joserfc.errors import JoseError  # noqa: PLC0415 - see `start`
        from joserfc.jwk import KeySet  # noqa: PLC0415

        facts = self._facts()
        with self._lock:
            waited = time.monotonic() - self._keys_asked >= _KEYS_EVERY
            if self._keys is None or (anew and waited):
                self._keys_asked = time.monotonic()
                found: Any = self._json("GET", facts["jwks_uri"])
                try:
                    self._keys = KeySet.import_key_set(found)
                except (JoseError, ValueError, TypeError, KeyError) as error:
                    raise TransportError("the provider's keys make no sense") from error
            return self._keys

    def _json(self, method: str, address: str, **options: Any) -> Mapping[str, Any]:
        """A bounded JSON object. Raises AuthenticationError where the provider refuses, TransportError."""
        import httpx  # noqa: PLC0415 - see `start`

        try:
            with (
                httpx.Client(timeout=_TIMEOUT) as http,
                http.stream(method, address, **options) as response,
            ):
                content = _bounded(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TransportError(f"the provider cannot be reached ({type(error).__name__})") from error
        if 400 <= response.status_code < 500 and method == "POST":
            raise AuthenticationError("the provider refused the login; begin again")
        if response.status_code != 200:
            raise TransportError(f"the provider answered {response.status_code}")
        try:
            answer = httpx.Response(200, content=content).json()
        except ValueError as error:
            raise TransportError("the provider's answer is no JSON") from error
        if not isinstance(answer, dict):
            raise TransportError("the provider's answer is no JSON object")
        return answer


def _bounded(response: httpx.Response) -> bytes:
    content = b""
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > _MOST_BYTES:
            raise TransportError("the provider's answer is too long")
    return content


def _groups(claim: object) -> list[str]:
    return (
        [claim]
        if isinstance(claim, str)
        else [str(item) for item in claim]
        if isinstance(claim, list)
        else []
    )


def _free_name(session: Session, claims: Mapping[str, Any]) -> str:
    """A user name like what the provider calls the person, that nobody has."""
    wanted = str(claims.get("preferred_username") or claims.get("email") or "user")
    plain = re.sub(r"[^a-z0-9._@+-]", "-", wanted.casefold())[:80].strip("._@+-")
    try:
        name = checked_name(plain)
    except InvalidRequestError:
        name = "user"
    if session.scalar(select(User.id).where(User.name == name)) is None:
        return name
    return f"{name}-{secrets.token_hex(3)}"


def _digest(state: str) -> str:
    return blake3(state.encode()).hexdigest()
