"""Names that the eye takes for one another, and the order in which channels are found. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from messenger.folding import fold

_ALIKE: Mapping[str, str] = {
    # Cyrillic and Greek letters that look like Latin ones, in the folded (small) form
    "а": "a", "е": "e", "о": "o", "р": "p", "с": "c", "у": "y", "х": "x", "і": "i", "ј": "j",
    "ѕ": "s", "ԁ": "d", "һ": "h", "к": "k", "м": "m", "т": "t", "в": "b", "н": "h",
    "α": "a", "ο": "o", "ρ": "p", "ν": "v", "υ": "u", "τ": "t", "κ": "k", "ι": "i", "ε": "e",
    # digits and letters
    "0": "o", "1": "l", "3": "e", "5": "s", "i": "l", "j": "l",
    # Persian letters that differ by a dot or a mark
    "آ": "ا", "ئ": "ی", "ث": "ت", "ص": "س", "ط": "ت", "ذ": "ز", "ض": "ز", "ظ": "ز", "ح": "ه",
    "ق": "غ",
}  # fmt: skip
_TABLE = str.maketrans(dict(_ALIKE))
_PAIRS = (("rn", "m"), ("vv", "w"), ("cl", "d"))


def skeleton(text: str) -> str:
    """Equal for names that a hurried reader takes for one another."""
    letters = fold(text).replace(" ", "")
    for two, one in _PAIRS:
        letters = letters.replace(two, one)
    letters = letters.translate(_TABLE)
    return "".join(
        letter for number, letter in enumerate(letters) if letter != letters[number - 1 : number]
    )


class Candidate(Struct, frozen=True, gc=False):
    """A channel of the directory."""

    chat: int
    username: str
    title_fold: str
    skeleton: str
    members: int
    verified: bool


def alike(candidates: Iterable[Candidate]) -> set[int]:
    """Those without a badge whose name looks like a verified one's."""
    found = list(candidates)
    names = {one.skeleton for one in found if one.verified}
    names |= {skeleton(one.username) for one in found if one.verified}
    return {
        one.chat
        for one in found
        if not one.verified and (one.skeleton in names or skeleton(one.username) in names)
    }


def ranked(question: str, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Verified first, then what was asked for by name, then the larger; look-alikes last."""
    name, title = question.strip().lower().removeprefix("@"), fold(question)
    last = alike(candidates)

    def place(one: Candidate) -> tuple[bool, bool, bool, bool, int, int]:
        exact = one.username == name
        same = one.title_fold == title
        return one.chat in last, not one.verified, not exact, not same, -one.members, one.chat

    return sorted(candidates, key=place)
