"""Messages with a number in their text, and the order in which each reader must see them."""

from array import array

import msgspec

MARK = b"#p="
DIGITS = 12
BODY_BYTES = 100
PADDING = "x" * (BODY_BYTES - len(MARK) - DIGITS - 1)


class SendFrame:
    """The frame of one `messages.send`: constant bytes with three inserts."""

    __slots__ = ("_head", "_tail")

    def __init__(self, chat: str, padding: str = PADDING) -> None:
        self._head = b',"rpc":{"method":"messages.send","data":{"chat":%b,"random_id":"' % (
            msgspec.json.encode(chat)
        )
        self._tail = b" %b" % padding.encode() + b'"}}}'

    def of(self, id: int, random_id: int, number: int) -> bytes:
        return b'{"id":%d%b%d","text":"#p=%012d%b' % (
            id, self._head, random_id, number, self._tail,
        )  # fmt: skip


def text_of(number: int) -> str:
    """The text that frame stores."""
    return f"#p={number:012d} {PADDING}"


def mark_of(data: bytes) -> int:
    """The number in a frame that shows a message; -1 in any other frame."""
    place = data.find(MARK)
    return -1 if place < 0 else int(data[place + 3 : place + 3 + DIGITS])


class Order:
    """Each reader must see 0, 1, 2, .. of its stream, once each."""

    def __init__(self, readers: int) -> None:
        self._next = array("q", [0] * readers)
        self.duplicated = 0
        self.reordered = 0
        self._early: dict[int, set[int]] = {}
        """Numbers that overtook others, by reader."""

    def seen(self, reader: int, number: int) -> bool:
        """Whether the number is new to this reader."""
        expected = self._next[reader]
        if number == expected and reader not in self._early:
            self._next[reader] = expected + 1
            return True
        return self._odd(reader, number)

    def missing(self, reader: int, sent: int) -> int:
        """Of the numbers below `sent`: how many this reader never saw."""
        return sent - self._next[reader] - len(self._early.get(reader, ()))

    def _odd(self, reader: int, number: int) -> bool:
        early = self._early.setdefault(reader, set())
        if number < self._next[reader] or number in early:
            self.duplicated += 1
            new = False
        else:
            new = True
            early.add(number)
            self.reordered += number != self._next[reader]
            while self._next[reader] in early:
                early.remove(self._next[reader])
                self._next[reader] += 1
        if not early:
            del self._early[reader]
        return new
