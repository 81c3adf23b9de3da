"""Who of those that the provider knows may use the page."""

from collections.abc import Mapping
from typing import Any

import msgspec

from daiic.gateway.login.tickets import Session
from daiic.shown import shown

EVERYONE = "*"
NAME = 200
"""Characters of a name, which has to fit into a cookie."""
MOST_GROUPS = 1000
"""Groups of one person that are looked at."""


class Admission(msgspec.Struct, frozen=True):
    """`emails` are addresses, "@" and a domain, or `EVERYONE` whom the provider lets in."""

    emails: tuple[str, ...]
    groups: tuple[str, ...]
    admin_groups: tuple[str, ...]
    groups_claim: str

    def session(self, claims: Mapping[str, Any]) -> Session | None:
        """Return the session of whom a checked ID token is about; `None` if it may not come in."""
        groups = self._groups(claims)
        is_admin = bool(groups & set(self.admin_groups))
        email = claims.get("email")
        # What a person has typed in somewhere proves nothing.
        is_proven = isinstance(email, str) and claims.get("email_verified") is True
        proven = str(email).lower() if is_proven else ""
        allowed = (
            EVERYONE in self.emails
            or bool(groups & {*self.groups, *self.admin_groups})
            or (proven != "" and self._has_email(proven))
        )
        if not allowed:
            return None
        names = (proven, claims.get("preferred_username"), claims.get("name"), claims["sub"])
        name = next(name for name in names if isinstance(name, str) and name)
        return Session(claims["sub"], shown(name)[:NAME], is_admin)

    def _has_email(self, email: str) -> bool:
        domain = email.rpartition("@")[2]
        return any(
            f"@{domain}" == allowed.lower() if allowed.startswith("@") else email == allowed.lower()
            for allowed in self.emails
        )

    def _groups(self, claims: Mapping[str, Any]) -> set[str]:
        groups = claims.get(self.groups_claim)
        listed = groups if isinstance(groups, list) else [groups]
        return {group for group in listed[:MOST_GROUPS] if isinstance(group, str)}
