from typing import Any

import pytest

from messenger.client.model import Chat, Model

ME, REZA = "71", "72"


def message(seq: int, sender: str = REZA, **more: Any) -> dict[str, Any]:
    return {"seq": seq, "ev": seq, "from": sender, "at": 0, "k": "text", "text": f"t{seq}", **more}


@pytest.fixture
def model() -> Model:
    model = Model(ME)
    me = {"role": "member", "read_seq": 1, "cleared_seq": 0, "pin": None}
    last = {"seq": 2, "ev": 2, "at": 0}
    model.put({"id": "90", "epoch": 1, "kind": "group", "title": "x", "last": last, "me": me})
    history = {"messages": [message(1), message(2)], "gaps": [], "last_seq": 2}
    model.chats["90"].page(history)
    model.chats["90"].ev = 2
    return model


@pytest.fixture
def chat(model: Model) -> Chat:
    return model.chats["90"]


def tell(model: Model, kind: str, **fields: Any) -> None:
    update = {"t": kind, "chat": "90", "ev": model.chats["90"].ev + 1, **fields}
    model.chat_fact(update)


def test_given_a_chat_object_when_put_then_its_parts_are_where_they_belong(chat: Chat) -> None:
    assert (chat.epoch, chat.last_seq, chat.read_seq, chat.big) == (1, 2, 1, False)
    assert chat.info == {"kind": "group", "title": "x"}
    assert chat.settings == {"role": "member"}
    assert chat.texts == ["t1", "t2"]
    assert chat.unread == 1


def test_given_a_message_of_mine_when_it_comes_then_all_before_it_is_read(
    model: Model, chat: Chat
) -> None:
    tell(model, "message.new", m=message(3, rid="88"))
    assert (chat.unread, chat.last_seq) == (2, 3)

    tell(model, "message.new", m=message(4, ME, rid="89"))

    assert (chat.unread, chat.read_seq, chat.ev) == (0, 4, 4)
    assert "rid" not in chat.messages[3]


def test_given_a_deleted_message_when_told_then_a_tombstone_stays_and_unread_shrinks(
    model: Model, chat: Chat
) -> None:
    chat.pins.add(2)

    tell(model, "message.deleted", seqs=[2, 99], by=REZA)

    assert chat.messages[2] == {
        "seq": 2, "ev": 2, "from": REZA, "at": 0, "k": "text", "deleted": True
    }  # fmt: skip
    assert (chat.unread, chat.pins, chat.texts) == (0, set(), ["t1"])
    assert [m["seq"] for m in chat.newest(5)] == [1, 2]


def test_given_an_edit_when_told_then_only_known_messages_change(model: Model, chat: Chat) -> None:
    tell(model, "message.edited", m=message(2, text="new", edited=1))
    tell(model, "message.edited", m=message(77, text="unseen"))

    assert chat.texts == ["t1", "new"]


def test_given_reactions_when_told_then_the_newest_counts_stand(model: Model, chat: Chat) -> None:
    tell(model, "message.reactions", seq=2, counts={"+": 2})
    assert chat.messages[2]["reactions"] == {"+": 2}

    tell(model, "message.reactions", seq=2, counts={})
    tell(model, "message.reactions", seq=77, counts={"+": 1})
    tell(model, "message.deleted", seqs=[1], by=REZA)
    tell(model, "message.reactions", seq=1, counts={"+": 1})

    assert "reactions" not in chat.messages[2]
    assert "reactions" not in chat.messages[1]


def test_given_facts_of_the_chat_when_told_then_they_are_kept(model: Model, chat: Chat) -> None:
    tell(model, "message.pinned", seq=1, on=True, by=REZA)
    tell(model, "message.pinned", seq=2, on=True, by=REZA)
    tell(model, "message.pinned", seq=1, on=False, by=REZA)
    tell(model, "chat.updated", set={"title": "y", "about": "z"})
    tell(model, "chat.updated", set={"about": None})
    tell(model, "member.changed", account=REZA, role="admin", by=ME)
    tell(model, "chat.big")
    tell(model, "chat.deleted")
    tell(model, "something.new")

    assert (chat.pins, chat.info) == ({2}, {"kind": "group", "title": "y"})
    assert (chat.members, chat.big, chat.closed, chat.ev) == ({REZA: "admin"}, True, True, 11)


def test_given_facts_of_the_account_when_told_then_they_are_kept(model: Model, chat: Chat) -> None:
    for kind, fields in (
        ("read.self", {"read_seq": 2}),
        ("read.self", {"read_seq": 1}),
        ("chat.cleared", {"cleared_seq": 1}),
        ("message.hidden", {"seqs": [2]}),
        ("chat.muted", {"muted_until": 5}),
        ("chat.pinned", {"pin": 1}),
        ("chat.pinned", {"pin": None}),
        ("chat.draft", {"draft": "half a"}),
    ):
        model.account_fact({"t": kind, "aev": 1, "chat": "90", **fields})

    assert (chat.read_seq, chat.cleared_seq, chat.hidden) == (2, 1, {2})
    assert chat.settings == {"role": "member", "muted_until": 5, "draft": "half a"}
    assert (chat.texts, chat.unread, chat.newest(5)) == ([], 0, [chat.messages[1]])


def test_given_facts_without_a_known_chat_when_told_then_they_do_no_harm(model: Model) -> None:
    model.chat_fact({"t": "message.new", "chat": "404", "ev": 1, "m": message(1)})
    model.account_fact({"t": "read.self", "aev": 1, "chat": "404", "read_seq": 1})
    model.receipt({"t": "receipt", "chat": "404", "account": REZA, "read_seq": 1})
    model.account_fact({"t": "session.new", "aev": 2, "device_id": "5"})

    assert list(model.chats) == ["90"]
    assert model.facts == [{"t": "session.new", "aev": 2, "device_id": "5"}]


def test_given_joins_and_leaves_when_told_then_the_list_of_chats_follows(model: Model) -> None:
    info = {"epoch": 3, "kind": "channel", "big": True, "last": {"seq": 9, "ev": 12}}
    model.account_fact({"t": "chat.joined", "aev": 1, "chat": "91", "info": info})
    model.account_fact({"t": "chat.joined", "aev": 2, "chat": "90", "info": {"epoch": 0}})
    model.account_fact({"t": "chat.left", "aev": 3, "chat": "404", "why": "left"})

    assert (model.chats["91"].big, model.chats["91"].last_seq) == (True, 9)
    assert model.chats["90"].epoch == 1, "a joined fact is older than what was fetched"

    model.account_fact({"t": "chat.left", "aev": 4, "chat": "91", "why": "left"})
    model.keep_only([])
    assert model.chats == {}


def test_given_a_receipt_when_told_then_it_never_goes_back(model: Model, chat: Chat) -> None:
    model.receipt({"chat": "90", "account": REZA, "read_seq": 2, "delivered_seq": 2})
    model.receipt({"chat": "90", "account": REZA, "read_seq": 1, "delivered_seq": 2})

    assert chat.receipts == {REZA: 2}


def test_given_gaps_of_a_page_when_read_then_only_those_above_the_cursor_count(chat: Chat) -> None:
    chat.forget()
    gone = message(8) | {"deleted": True}

    chat.page({"messages": [gone], "gaps": [[1, 3], [5, 6]], "last_seq": 8})

    assert chat.deleted == {2, 3, 5, 6, 8}
    assert chat.unread == 2  # of 2..8 only 4 and 7 are left


def test_given_another_epoch_when_put_then_the_chat_begins_anew(model: Model) -> None:
    old = model.chats["90"]

    new = model.put({"id": "90", "epoch": 2, "last": {"seq": 1, "ev": 1}})

    assert new is model.chats["90"]
    assert new is not old
    assert (new.last_seq, new.messages, new.changed) == (1, {}, False)
