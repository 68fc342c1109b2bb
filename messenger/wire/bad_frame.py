"""What a decoder raises; its code is the close the peer gets."""

from messenger.wire.codes import CloseCode


class BadFrame(Exception):  # noqa: N818 - a peer's mistake, not an error of ours
    """The frame cannot be read; nothing of it may be executed."""

    def __init__(self, why: str, code: CloseCode = CloseCode.BAD_REQUEST) -> None:
        super().__init__(why)
        self.code = code
