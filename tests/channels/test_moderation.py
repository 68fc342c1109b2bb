"""Reports take their course, sanctions hold and can be appealed; nobody does another's part."""

import itertools
import time

import pytest

from channels.moderation import (
    REPORTS,
    SANCTIONS,
    ReportEvent,
    ReportState,
    SanctionEvent,
    SanctionState,
    report_after,
    sanction_after,
)
from channels.sanctions import Sanctioned
from channels.store.reports import ReportStore
from messenger.feature import Refused
from messenger.ids import AccountId, ChatId
from messenger.wire.codes import ErrorCode
from tests.channels.studio import Person, Studio, an_id
from tests.support.people import becomes


@pytest.mark.parametrize(("state", "event"), list(itertools.product(ReportState, ReportEvent)))
def test_given_a_report_then_it_goes_where_the_table_says_or_nowhere(
    state: ReportState, event: ReportEvent
) -> None:
    if (state, event) in REPORTS:
        assert report_after(state, event) is REPORTS[state, event]
        return
    with pytest.raises(Refused) as refused:
        report_after(state, event)
    assert refused.value.code is ErrorCode.CONFLICT


@pytest.mark.parametrize(("state", "event"), list(itertools.product(SanctionState, SanctionEvent)))
def test_given_a_sanction_then_it_goes_where_the_table_says_or_nowhere(
    state: SanctionState, event: SanctionEvent
) -> None:
    if (state, event) in SANCTIONS:
        assert sanction_after(state, event) is SANCTIONS[state, event]
        return
    with pytest.raises(Refused) as refused:
        sanction_after(state, event)
    assert refused.value.code is ErrorCode.CONFLICT


def test_given_the_tables_then_every_state_but_the_last_ones_leads_on() -> None:
    assert {state for state, _ in REPORTS} == set(ReportState)
    assert set(SanctionState) - {state for state, _ in SANCTIONS} == {
        SanctionState.UPHELD,
        SanctionState.LIFTED,
    }


async def a_moderator(studio: Studio) -> Person:
    person = await studio.person("ناظر")
    await studio.run("insert into moderator(account_id) values ($1)", person.account)
    return person


async def a_report(studio: Studio, chat: str, **more: object) -> str:
    reader = await studio.a_subscriber(chat)
    request = {"reason": "fraud", "text": "فریب", **more}
    return str((await reader.call("chats.report", chat=chat, **request))["report_id"])


async def decided(moderator: Person, report: str, sanction: str | None, **more: object) -> str:
    await moderator.call("channels.take_report", report=report)
    request = {"sanction": sanction, "rule": "7.2", "note": "شرح", **more}
    done = await moderator.call("channels.decide_report", report=report, **request)
    return str(done.get("case"))


async def test_given_a_report_then_a_moderator_sees_it_takes_it_and_decides(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    await mina.posts(chat, "متن بد")
    moderator, other = await a_moderator(studio), await a_moderator(studio)
    report = await a_report(studio, chat, seq=1)

    page = await moderator.call("channels.reports", after=str(int(report) - 1), limit=1)
    await moderator.call("channels.take_report", report=report)
    await moderator.call("channels.take_report", report=report)
    taken = await other.refusal("channels.take_report", report=report)
    not_theirs = await other.refusal(
        "channels.decide_report", report=report, sanction=None, rule="1"
    )
    done = await moderator.call("channels.decide_report", report=report, sanction=None, rule="1")
    again = await moderator.refusal(
        "channels.decide_report", report=report, sanction="closed", rule="1"
    )

    [listed] = page["reports"]
    assert (listed["post"], listed["reason"], listed["state"]) == ("متن بد", "fraud", "open")
    assert taken.code is ErrorCode.CONFLICT
    assert not_theirs.details == {"right": "assignee"}
    assert done == {}
    assert again.code is ErrorCode.CONFLICT
    assert (await mina.call("channels.sanctions", chat=chat))["sanctions"] == []


async def test_given_a_silenced_channel_then_posts_and_edits_name_rule_end_and_case(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    await mina.posts(chat)
    until = int(time.time() * 1000) + 3_600_000
    case = await decided(
        await a_moderator(studio), await a_report(studio, chat), "silenced", until=until
    )

    post = await mina.refusal("messages.send", chat=chat, text="x", random_id=an_id())
    edit = await mina.refusal("messages.edit", chat=chat, seq=1, text="x")

    assert post.code is ErrorCode.ACCOUNT_RESTRICTED
    assert post.details == edit.details == {"rule": "7.2", "until": until, "case": case}
    assert (await mina.sees(chat))["last"]["seq"] == 1
    log = (await mina.call("channels.log", chat=chat))["entries"]
    assert [(one["act"], one["by"], one["more"]["kind"]) for one in log] == [
        ("sanction", "0", "silenced")
    ]
    assert (await mina.posts(await mina.founds()))["seq"] == 1


async def test_given_a_closed_channel_then_nobody_new_comes_in(
    studio: Studio, mina: Person, reza: Person
) -> None:
    chat = await mina.founds()
    link = (await mina.call("chats.link_create", chat=chat))["link"]
    await decided(await a_moderator(studio), await a_report(studio, chat), "closed")

    refused = await reza.refusal("chats.join", link=link)

    assert (refused.code, refused.details["rule"]) == (ErrorCode.ACCOUNT_RESTRICTED, "7.2")


async def test_given_a_sanction_of_a_group_then_it_holds_there_too(
    studio: Studio, mina: Person
) -> None:
    group = await mina.groups()
    report = str((await mina.call("chats.report", chat=group, reason="x"))["report_id"])
    await decided(await a_moderator(studio), report, "silenced")

    refused = await mina.refusal("messages.send", chat=group, text="x", random_id=an_id())

    assert refused.code is ErrorCode.ACCOUNT_RESTRICTED
    assert len((await mina.call("channels.sanctions", chat=group))["sanctions"]) == 1


async def test_given_a_warning_then_it_forbids_nothing_and_admins_read_it(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    await decided(await a_moderator(studio), await a_report(studio, chat), "warning")

    await mina.posts(chat)

    [sanction] = (await mina.call("channels.sanctions", chat=chat))["sanctions"]
    assert (sanction["kind"], sanction["rule"], sanction["state"]) == ("warning", "7.2", "in_force")


async def test_given_an_appeal_when_another_moderator_lifts_then_posts_are_possible_again(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    author, other = await a_moderator(studio), await a_moderator(studio)
    report = await a_report(studio, chat)
    case = await decided(author, report, "silenced")

    await mina.call("channels.appeal", case=case, text="اشتباه است")
    own = await author.refusal("channels.decide_appeal", case=case, uphold=False)
    held = await mina.refusal("messages.send", chat=chat, text="x", random_id=an_id())
    appealed = await other.call(
        "channels.reports", state="appealed", after=str(int(report) - 1), limit=1
    )
    await other.call("channels.decide_appeal", case=case, uphold=False, note="رفع شد")

    assert own.details == {"right": "another_moderator"}
    assert held.code is ErrorCode.ACCOUNT_RESTRICTED
    assert appealed["reports"][0]["case"] == case
    assert (await mina.posts(chat))["seq"] == 1
    acts = [one["act"] for one in (await mina.call("channels.log", chat=chat))["entries"]]
    assert acts == ["lifted", "appeal", "sanction"]
    again = await mina.refusal("channels.appeal", case=case, text="x")
    assert again.code is ErrorCode.CONFLICT


async def test_given_an_appeal_when_upheld_then_the_sanction_holds_and_cannot_be_appealed_again(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    author, other = await a_moderator(studio), await a_moderator(studio)
    case = await decided(author, await a_report(studio, chat), "silenced")
    await mina.call("channels.appeal", case=case, text="x")

    await other.call("channels.decide_appeal", case=case, uphold=True)

    refused = await mina.refusal("messages.send", chat=chat, text="x", random_id=an_id())
    again = await mina.refusal("channels.appeal", case=case, text="x")
    assert (refused.code, again.code) == (ErrorCode.ACCOUNT_RESTRICTED, ErrorCode.CONFLICT)


async def test_given_a_decision_of_another_node_then_it_holds_here_within_seconds(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    await studio.run(
        "insert into sanction(case_id, chat_id, kind, rule, by_id) values ($1, $2, 3, '9', 1)",
        int(an_id()),
        int(chat),
    )

    async def is_silenced() -> bool:
        try:
            await mina.posts(chat)
        except Refused as refused:
            return refused.code is ErrorCode.ACCOUNT_RESTRICTED
        return False

    await becomes(is_silenced, wanted=True)


async def test_given_a_sanction_whose_end_has_come_then_it_forbids_nothing(
    studio: Studio, mina: Person
) -> None:
    chat, now = int(an_id()), [1_000]
    await studio.run(
        "insert into sanction(case_id, chat_id, kind, rule, by_id, until)"
        " values ($1, $2, 4, '9', 1, 2000)",
        int(an_id()),
        chat,
    )
    in_force = Sanctioned(ReportStore(studio.db), lambda: now[0])
    await in_force.read()
    with pytest.raises(Refused):
        in_force.check(chat=ChatId(chat), account=AccountId(1))

    now[0] = 2_000
    in_force.check(chat=ChatId(chat), account=AccountId(1))
    in_force.check_join(ChatId(chat))

    assert not in_force.hides(ChatId(chat))
