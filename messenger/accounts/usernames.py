"""Which @usernames may be had at all, and for how long a released one is nobody's.

Look-alikes of protected names are refused by the NameGuard, not here.
"""

import re

from messenger.feature import Refused
from messenger.wire.codes import ErrorCode

TOMBSTONE_MS = 180 * 86_400_000  # readers of old links must not land at a stranger

_PATTERN = re.compile(r"[a-z][a-z0-9_]{4,31}", re.ASCII)

RESERVED = frozenset(
    """
    about abuse account accounts admin administrator admins android announcement announcements
    application audit badge badges bank banks billing calls channel channels chats contact
    contacts courier developer developers download emergency everyone government
    guest helpdesk hotline iphone legal login logout maintenance media messages messenger
    moderator moderators mobile notice notices notification notifications official owner password
    payment payments peyk peykapp peyk_app peyk_admin peyk_help peyk_official peyk_support police
    policy postmaster premium privacy public register report reports rescue robot safety saved
    saved_messages search security server service services settings signin signup staff
    status support sysadmin system telegram terms undefined update updates username verification
    verified verify webmaster website whatsapp
    """.split()  # noqa: SIM905 - a list of words reads better as words
)
"""Names that would speak for the platform or the state, or that are pages of the web client."""


def folded(username: str) -> str:
    """The key under which a username is kept: names that differ in case only are one name."""
    return username.strip().lower()


def check_username(username: str) -> str:
    """The folded name, or Refused(USERNAME_INVALID, {why})."""
    name = folded(username)
    if not _PATTERN.fullmatch(name):
        raise Refused(ErrorCode.USERNAME_INVALID, {"why": "pattern"})
    if name in RESERVED:
        raise Refused(ErrorCode.USERNAME_INVALID, {"why": "reserved"})
    return name
