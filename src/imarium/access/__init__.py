"""Who may do what."""

from imarium.access.accounts import Account, Accounts
from imarium.access.permissions import HOME, NOBODY, Action, Actor, Permissions, Role, Scope, Visibility
from imarium.access.secret import erased_mark, pseudonym, site_secret
from imarium.access.sessions import Login

__all__ = [
    "HOME",
    "NOBODY",
    "Account",
    "Accounts",
    "Action",
    "Actor",
    "Login",
    "Permissions",
    "Role",
    "Scope",
    "Visibility",
    "erased_mark",
    "pseudonym",
    "site_secret",
]
