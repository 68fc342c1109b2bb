"""Persian folding: the one way in which spellings of a word are made equal.

Names, titles, usernames, search and the guard against look-alikes use it. Only copies are
folded: stored text is never changed, since removing a half-space harms meaning.
"""

import re
import unicodedata
from collections.abc import Sequence
from zlib import crc32

PIECES = 10_000  # 0.5 KB each; nine of ten words of a language's texts are among them
PIECE_LETTERS = 40  # longer ones are links and noise: not remembered
ZWNJ = "\u200c"  # the half-space inside Persian words

_SAME = {
    "ی": "يىې",
    "ک": "كڪ",
    "ه": "ةۀەۂہ",
    "ا": "أإٱ",  # آ and ئ stay: they are other letters, not other spellings
    "و": "ؤ",
}
_DROPPED = [
    0x0640,  # tatweel
    *range(0x064B, 0x0660),
    0x0670,
    *range(0x0300, 0x0370),  # what NFKC could not compose, such as the dot of a small Turkish İ
    0x200D,
    *(0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),  # bidi controls
    0xFEFF,
    0x00AD,
]


def _table() -> dict[int, str | None]:
    table: dict[int, str | None] = dict.fromkeys(_DROPPED)
    for letter, others in _SAME.items():
        table |= {ord(other): letter for other in others}
    for zero in (0x0660, 0x06F0):
        table |= {zero + digit: str(digit) for digit in range(10)}
    return table


_TABLE = _table()
_NO_LETTERS = re.compile(r"[\W_]+")
_NO_LETTERS_BUT_ZWNJ = re.compile(rf"[^\w{ZWNJ}]+|_+")
_BEFORE = frozenset(["می", "نمی", "بی"])
_AFTER = frozenset(
    [
        *("ها", "های", "هایی", "هایم", "هایت", "هایش", "هایمان", "هایتان", "هایشان"),
        *("ای", "ام", "ات", "اش", "ایم", "اید", "اند", "تر", "ترین", "تری"),
    ]
)


def fold(text: str) -> str:
    """Letters and digits with one space between words. Idempotent."""
    return _NO_LETTERS.sub(" ", _letters(text)).strip()


def words(text: str) -> list[list[str]]:
    """Words as lists of parts: a half-space, or a space next to an affix, is inside a word."""
    found: list[list[str]] = []
    for chunk in _NO_LETTERS_BUT_ZWNJ.sub(" ", _letters(text)).split():
        parts = [part for part in chunk.split(ZWNJ) if part]
        if not parts:
            continue
        if found and (found[-1][-1] in _BEFORE or parts[0] in _AFTER):
            found[-1] += parts
        else:
            found.append(parts)
    return found


def index_tokens(text: str) -> set[str]:
    """What a text is found by: every part, and every word written as one."""
    return {token for parts in words(text) for token in (*parts, "".join(parts))}


def query_tokens(text: str) -> set[str]:
    """All of these must be among a text's `index_tokens`."""
    return {"".join(parts) for parts in words(text)}


def token_hash(token: str) -> int:
    """CRC-32 as a signed 32-bit number: the form in which the index stores a token."""
    unsigned = crc32(token.encode())
    return unsigned - (1 << 32) if unsigned >= 1 << 31 else unsigned


class Tokens:
    """The hashes of `index_tokens`, for many texts: people repeat their words, so what folding
    made of a piece of text between two spaces is remembered.

    A space keeps its two sides apart through all of folding; only the affix rule looks across it.
    """

    def __init__(self, pieces: int = PIECES) -> None:
        self._limit = pieces
        self._known: dict[str, _Piece] = {}

    def hashes(self, text: str) -> set[int]:
        """The `token_hash` of each of the text's `index_tokens`."""
        found: set[int] = set()
        last: tuple[str, ...] = ()
        waiting: frozenset[int] = frozenset()
        known = self._known
        for piece in text.split():
            learnt = known.get(piece)
            for parts, hashes in self._learn(piece) if learnt is None else learnt:
                if last and (last[-1] in _BEFORE or parts[0] in _AFTER):
                    last += parts
                    waiting = _hashes(last)
                else:
                    found |= waiting
                    last, waiting = parts, hashes
        found |= waiting
        return found

    def _learn(self, piece: str) -> "_Piece":
        learnt = tuple((parts, _hashes(parts)) for parts in map(tuple, words(piece)))
        if len(piece) <= PIECE_LETTERS:
            if len(self._known) >= self._limit:
                self._known.clear()
            self._known[piece] = learnt
        return learnt


_Piece = tuple[tuple[tuple[str, ...], frozenset[int]], ...]
"""The words of a piece, by their parts, each with the hashes of its tokens."""


def _hashes(parts: Sequence[str]) -> frozenset[int]:
    return frozenset(map(token_hash, (*parts, "".join(parts))))


def _letters(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_TABLE)
    # What stood on both sides of a dropped sign may compose now (Hangul): else not idempotent.
    return unicodedata.normalize("NFKC", folded)
