"""What people may call themselves: any script, but nothing that tricks the eye or the database."""

import unicodedata

from messenger.feature import Refused
from messenger.wire.codes import ErrorCode

# They turn the direction of what follows: a name could rewrite the line it stands in. The
# half-space U+200C and the joiner U+200D stay, Persian and emoji need them.
_BIDI = dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])


def clean_text(field: str, text: str, *, lines: bool = False) -> str:
    """NFC without bidi controls and outer blanks, or Refused(INVALID). May be empty.

    `lines` allows line breaks; no other control character passes.
    """
    clean = unicodedata.normalize("NFC", text.translate(_BIDI)).strip()
    for character in clean:
        if unicodedata.category(character) in ("Cc", "Cs") and not (lines and character == "\n"):
            raise Refused(ErrorCode.INVALID, {"field": field, "why": "control character"})
    return clean


def clean_name(field: str, text: str) -> str:
    """As `clean_text`, with something visible left."""
    name = clean_text(field, text)
    if not any(unicodedata.category(character)[0] in "LNPS" for character in name):
        raise Refused(ErrorCode.INVALID, {"field": field, "why": "empty"})
    return name
