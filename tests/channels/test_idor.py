"""Who may do what to a channel: every rpc, asked by everybody from stranger to owner."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from msgspec import Struct

from messenger.chats.rights import ALL_RIGHTS
from messenger.feature import Refused
from messenger.settings import Settings
from messenger.wire.codes import ErrorCode
from tests.channels.studio import Person, Studio, a_name, a_studio, an_id

ROLES = ("stranger", "banned", "left", "reader", "editor", "admin", "owner", "moderator")
"""An editor is an admin without any right, an admin one with all of them."""
OK = None
NONE, BAN, NOT = ErrorCode.NO_CHAT, ErrorCode.BANNED, ErrorCode.FORBIDDEN
LOST, MOVED, BIG = ErrorCode.NOT_FOUND, ErrorCode.CONFLICT, ErrorCode.NOT_FOR_BIG_CHATS

OUTSIDE = (NONE, NONE, NONE)
KEPT_OUT = (NONE, BAN, NONE)  # messages tell who is banned so


class Cast(Struct):
    """One channel, somebody in each role, and others to whom things are done."""

    chat: str
    people: Mapping[str, Person]
    other: str
    """Another reader."""
    case: str
    """A sanction that was lifted."""


Expected = Sequence[ErrorCode | None]


def row(inside: Expected, outside: Expected = OUTSIDE, moderator: ErrorCode | None = NONE) -> Any:
    """Answers for strangers, banned and left, then reader to owner, then a moderator outside."""
    return (*outside, *inside, moderator)


ADMINS = row((NOT, OK, OK, OK))
RIGHT = row((NOT, NOT, OK, OK))
OWNER = row((NOT, NOT, NOT, OK))
EVERYBODY = (OK,) * 8
READERS = row((OK, OK, OK, OK))
MODERATORS = (NOT,) * 7 + (LOST,)

MATRIX: dict[str, tuple[Mapping[str, Any], Expected]] = {
    "channels.configure": ({"category": "news"}, RIGHT),
    "channels.transfer": ({"account": "other"}, OWNER),
    "channels.answer_transfer": ({"accept": True}, row((LOST, LOST, LOST, NOT))),
    "channels.log": ({}, ADMINS),
    "channels.view": ({"views": [{"chat": "chat", "lo": 1, "hi": 1}]}, EVERYBODY),
    "channels.stats": ({"seqs": [1]}, READERS),
    "channels.statistics": ({}, RIGHT),
    "channels.authors": ({"seqs": [1]}, ADMINS),
    "channels.search": ({"q": "خبر"}, EVERYBODY),
    "channels.suggest": ({"category": "news"}, EVERYBODY),
    "channels.reports": ({"limit": 1}, (NOT,) * 7 + (OK,)),
    "channels.take_report": ({"report": "5"}, MODERATORS),
    "channels.decide_report": ({"report": "5", "sanction": None, "rule": "1"}, MODERATORS),
    "channels.decide_appeal": ({"case": "5", "uphold": True}, MODERATORS),
    "channels.sanctions": ({}, row((NOT, OK, OK, OK), moderator=OK)),
    "channels.appeal": (
        {"case": "case", "text": "x"},
        row((NOT, NOT, NOT, MOVED), (LOST, LOST, LOST), LOST),
    ),
    "chats.update": ({"about": "درباره"}, RIGHT),
    "chats.members": ({}, ADMINS),
    "chats.add_members": ({"accounts": ["other"]}, RIGHT),
    "chats.restrict": ({"account": "other", "deny": []}, RIGHT),
    "chats.set_role": ({"account": "other", "role": "member"}, RIGHT),
    "chats.transfer": ({"account": "other"}, row((NOT, NOT, NOT, NOT))),
    "chats.link_create": ({}, RIGHT),
    "chats.links": ({}, RIGHT),
    "chats.requests": ({}, RIGHT),
    "chats.answer_request": ({"account": "other", "accept": False}, row((NOT, NOT, LOST, LOST))),
    "chats.pin_message": ({"seq": 1, "on": True}, RIGHT),
    "chats.pins": ({}, READERS),
    "chats.log": ({}, ADMINS),
    "chats.report": ({"reason": "x"}, READERS),
    "messages.send": ({"text": "x", "random_id": "key"}, row((NOT, NOT, OK, OK), KEPT_OUT)),
    "messages.edit": ({"seq": 1, "text": "y"}, row((NOT, NOT, OK, OK), KEPT_OUT)),
    "messages.delete": ({"seqs": [2], "for": "all"}, row((NOT, NOT, OK, OK), KEPT_OUT)),
    "messages.react": ({"seq": 1, "emoji": "👍"}, row((OK, OK, OK, OK), KEPT_OUT)),
    "messages.history": ({}, row((OK, OK, OK, OK), KEPT_OUT)),
    "messages.get": ({"seqs": [1]}, row((OK, OK, OK, OK), KEPT_OUT)),
    "messages.readers": ({"seq": 1}, row((BIG, BIG, BIG, BIG), KEPT_OUT)),
    "chats.delete": ({}, row((NOT, NOT, NOT, OK))),
}
"""rpc -> (request, what each role is answered). Deleting comes last: nothing is left after it."""


@pytest.fixture(scope="module")
async def cast(settings: Settings) -> AsyncIterator[tuple[Studio, Cast]]:
    async with a_studio(settings) as studio:
        people = {role: await studio.person(role) for role in (*ROLES, "other")}
        owner = people["owner"]
        chat = await owner.founds(username=a_name())
        for role, rank, rights in (
            ("banned", -1, 0),
            ("left", 0, 0),
            ("reader", 1, 0),
            ("other", 1, 0),
            ("editor", 3, 0),
            ("admin", 3, ALL_RIGHTS),
        ):
            await studio.seats(chat, people[role], rank, rights)
        await studio.run(
            "insert into moderator(account_id) values ($1)", people["moderator"].account
        )
        case = an_id()
        await studio.run(
            "insert into sanction(case_id, chat_id, kind, by_id, state) values ($1, $2, 1, 1, 3)",
            int(case),
            int(chat),
        )
        for _ in range(2):
            await owner.posts(chat)
        yield studio, Cast(chat, people, people["other"].id, case)


def filled(value: Any, cast: Cast) -> Any:
    """The request with the names of the cast in place of their parts."""
    match value:
        case dict():
            return {name: filled(one, cast) for name, one in value.items()}
        case list():
            return [filled(one, cast) for one in value]
        case "other":
            return cast.other
        case "chat":
            return cast.chat
        case "case":
            return cast.case
        case "key":
            return an_id()
        case _:
            return value


@pytest.mark.parametrize("method", MATRIX)
async def test_given_any_role_when_it_asks_then_the_answer_is_the_tables(
    cast: tuple[Studio, Cast], method: str
) -> None:
    _, parts = cast
    request, expected = MATRIX[method]

    async def answer(role: str) -> str:
        data = filled(dict(request), parts)
        if method.partition(".")[2] not in ("view", "search", "suggest"):
            data.setdefault("chat", parts.chat)
        try:
            await parts.people[role].call(method, **data)
        except Refused as refused:
            return refused.code.name
        return "OK"

    if method == "channels.view":  # gathered for half a second: all at once
        answers = await asyncio.gather(*map(answer, ROLES))
    else:
        answers = [await answer(role) for role in ROLES]

    wanted = ["OK" if one is None else one.name for one in expected]
    assert dict(zip(ROLES, answers, strict=True)) == dict(zip(ROLES, wanted, strict=True))


async def test_given_all_rpcs_of_channels_then_the_matrix_has_each(
    cast: tuple[Studio, Cast],
) -> None:
    studio, _ = cast
    methods = {rpc.method for rpc in studio.node.rpcs.methods}

    missing = {one for one in methods if one.startswith("channels.")} - set(MATRIX)

    assert missing == set()
