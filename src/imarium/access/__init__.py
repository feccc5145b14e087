"""Who may do what."""

from imarium.access.accounts import Accounts, Login
from imarium.access.secret import erased_mark, pseudonym, site_secret

__all__ = ["Accounts", "Login", "erased_mark", "pseudonym", "site_secret"]
