"""The spliced update of a plain text says what the general encoder says."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from messenger.ids import MAX_ID, AccountId, ChatId, DeviceId
from messenger.log.committer import Send, Written
from messenger.log.events import MessageFlag
from messenger.messages.protocol import Message, MessageNew
from messenger.messages.sending import own_copy, written_update

ids = st.integers(1, MAX_ID)
numbers = st.integers(1, 2**31 - 1)


@given(
    chat=ids,
    account=ids,
    seq=numbers,
    ev=numbers,
    text=st.text(min_size=1),
    reply=st.none() | numbers,
    silent=st.booleans(),
    own=st.booleans(),
)
def test_given_any_text_when_told_then_it_equals_the_encoded_struct(
    chat: int,
    account: int,
    seq: int,
    ev: int,
    text: str,
    reply: int | None,
    *,
    silent: bool,
    own: bool,
) -> None:
    flags = int(MessageFlag.SILENT) if silent else 0
    send = Send(
        chat=ChatId(chat), account=AccountId(account), device=DeviceId(int(own)), random_id=77,
        digest=0, kind=1, flags=flags, reply=reply, media=None, body=text, extra=None,
    )  # fmt: skip
    written = Written(
        send=send, seq=seq, ev=ev, at=1_700_000_000_000, dup=False, chat_kind=1, chat_flags=0,
        member_ver=1, badge_epoch=0,
    )  # fmt: skip
    message = Message(
        seq=seq, ev=ev, sender=str(account), at=1_700_000_000_000, k="text", text=text,
        reply=reply, silent=silent,
    )  # fmt: skip
    try:
        expected = msgspec.json.encode(MessageNew(str(chat), ev, message))
    except UnicodeEncodeError:
        with pytest.raises(UnicodeEncodeError):
            written_update(written)
        return

    update = written_update(written)

    assert update == expected
    copy = msgspec.json.decode(own_copy(update, written))
    assert copy["m"].pop("rid", None) == ("77" if own else None)
    assert copy == msgspec.json.decode(expected)
