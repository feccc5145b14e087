"""Shapes of what the API says and takes of people: logins, accounts, roles, agreements, requests."""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from imarium.access import Role, Scope, Visibility
from imarium.access.accounts import Account, Standing
from imarium.access.agreements import AcceptanceRecord, AgreementRecord
from imarium.access.requests import RequestRecord, RequestStatus
from imarium.access.roles import RoleRecord
from imarium.access.sessions import TokenRecord
from imarium.faces.http.schemas import Schema


class Given(BaseModel):
    """What comes in; what is misspelt is refused."""

    model_config = ConfigDict(extra="forbid")


class Credentials(BaseModel):
    """What a login needs."""

    username: str = Field(max_length=100)
    password: str = Field(max_length=1000)


class LoginAnswer(Schema):
    """A token for the Authorization header: `Bearer TOKEN`."""

    username: str
    token: str
    expires: str = Field(description="ISO 8601, UTC")


class LoginMethods(Schema):
    """How one can log in here."""

    password: bool
    oidc: str | None = Field(description="Name of the provider at whose page `GET /oidc/login` begins.")
    registration: bool = Field(description="Whether anybody may ask for an account.")


class Me(Schema):
    """Who is asking, and by what."""

    username: str
    is_administrator: bool
    scopes: list[Scope]


class Registration(Given):
    """Asks for an account."""

    username: str = Field(max_length=100)
    password: str = Field(max_length=1000)
    email: str | None = Field(default=None, max_length=254)


class Accepted(Schema):
    """It was taken note of."""

    message: str


class AccountItem(Schema):
    """An account."""

    name: str
    email: str | None
    standing: Standing
    is_administrator: bool
    has_password: bool = Field(description="False for those who log in with a provider alone.")
    created: datetime

    @classmethod
    def of(cls, record: Account) -> AccountItem:
        """From the service's record."""
        return cls.model_validate(record, from_attributes=True)


class AccountList(Schema):
    """All accounts."""

    items: list[AccountItem]


class NewAccount(Given):
    """Makes an account that can be used at once."""

    name: str = Field(max_length=100)
    password: str | None = Field(default=None, max_length=1000, description="Generated unless given.")
    email: str | None = Field(default=None, max_length=254)
    is_administrator: bool = False


class GeneratedPassword(Schema):
    """A password that is shown this once; null where one was given."""

    name: str
    password: str | None


class AccountChange(Given):
    """What is to change of an account; what is left out stays."""

    standing: Standing | None = Field(default=None, description="approved or disabled")
    is_administrator: bool | None = None
    email: str | None = Field(default=None, max_length=254, description="An empty one is forgotten.")


class PasswordChange(Given):
    """Changes one's own password."""

    current: str = Field(max_length=1000)
    password: str = Field(max_length=1000)


class TokenItem(Schema):
    """A login or a token; never what it was made of."""

    id: int
    name: str
    scopes: list[Scope]
    created: datetime | None
    last_used: datetime | None = Field(description="To a few minutes.")
    expires: datetime
    current: bool = Field(description="Whether it is the one that asked.")

    @classmethod
    def of(cls, record: TokenRecord) -> TokenItem:
        """From the service's record."""
        return cls(
            id=record.number,
            name=record.name,
            scopes=list(record.scopes),
            created=record.created,
            last_used=record.last_used,
            expires=record.expires,
            current=record.is_current,
        )


class TokenList(Schema):
    """Logins, or tokens."""

    items: list[TokenItem]


class NewToken(Given):
    """Makes a token for a program."""

    name: str = Field(min_length=1, max_length=100, description="What it is for.")
    scopes: list[Scope] = Field(min_length=1, max_length=len(Scope))
    days: int = Field(default=90, ge=1, le=366)


class NewTokenAnswer(Schema):
    """A token, shown this once."""

    token: str
    expires: datetime


class AccessAnswer(Schema):
    """Who may read a collection, and what whoever asks is there."""

    collection: str
    visibility: Visibility
    role: Role | None
    agreement: int = Field(description="Version that must be accepted before images are read; 0: none.")
    accepted: bool = Field(description="Whether whoever asks accepted that version.")


class AccessChange(Given):
    """Opens or closes a collection."""

    visibility: Visibility


class RoleItem(Schema):
    """What a person is in a collection."""

    collection: str
    user: str
    role: Role
    granted: datetime
    granted_by: str
    ends: datetime | None

    @classmethod
    def of(cls, record: RoleRecord) -> RoleItem:
        """From the service's record."""
        return cls.model_validate(record, from_attributes=True)


class RoleList(Schema):
    """Roles."""

    items: list[RoleItem]


class RoleGrant(Given):
    """Gives a role."""

    role: Role
    ends: AwareDatetime | None = None


class AgreementAnswer(Schema):
    """The version of an agreement that counts."""

    collection: str
    version: int
    text: str
    created: datetime
    accepted: datetime | None = Field(description="When whoever asks accepted this version.")

    @classmethod
    def of(cls, record: AgreementRecord) -> AgreementAnswer:
        """From the service's record."""
        return cls.model_validate(record, from_attributes=True)


class NewAgreement(Given):
    """A new version; null asks for none any more."""

    text: str | None = Field(max_length=200_000)


class AgreementVersion(Given):
    """Which version is meant."""

    version: int = Field(ge=0, lt=1 << 31)


class AcceptanceItem(Schema):
    """Somebody accepted a version."""

    user: str
    version: int
    accepted: datetime

    @classmethod
    def of(cls, record: AcceptanceRecord) -> AcceptanceItem:
        """From the service's record."""
        return cls.model_validate(record, from_attributes=True)


class AcceptanceList(Schema):
    """Who accepted what."""

    items: list[AcceptanceItem]


class NewRequest(Given):
    """Asks for a role in a collection."""

    collection: str = Field(min_length=1, max_length=200, description="Its exact name.")
    role: Role = Role.READER
    purpose: str = Field(min_length=1, max_length=10_000, description="What for; the owners read it.")


class RequestItem(Schema):
    """A request for access."""

    id: int
    collection: str
    user: str
    role: Role
    purpose: str
    status: RequestStatus
    created: datetime
    reason: str = Field(description="Given by who decided.")
    decided: datetime | None
    decided_by: str | None
    ends: datetime | None = Field(description="When the role that was granted ends.")

    @classmethod
    def of(cls, record: RequestRecord) -> RequestItem:
        """From the service's record."""
        return cls(
            id=record.number,
            collection=record.collection,
            user=record.user,
            role=record.role,
            purpose=record.purpose,
            status=record.status,
            created=record.created,
            reason=record.reason,
            decided=record.decided,
            decided_by=record.decided_by,
            ends=record.ends,
        )


class RequestList(Schema):
    """Requests for access."""

    items: list[RequestItem]


class NewRequestAnswer(Schema):
    """The number of a request. It says nothing of whether there is such a collection."""

    id: int


class Decision(Given):
    """Grants a request."""

    reason: str = Field(default="", max_length=10_000)
    ends: AwareDatetime | None = Field(default=None, description="When the role ends.")


class Refusal(Given):
    """Refuses a request."""

    reason: str = Field(min_length=1, max_length=10_000)
