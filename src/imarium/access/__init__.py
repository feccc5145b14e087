"""Who may do what."""

from imarium.access.accounts import Accounts, Login
from imarium.access.secret import pseudonym, site_secret

__all__ = ["Accounts", "Login", "pseudonym", "site_secret"]
