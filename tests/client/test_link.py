"""The protocol from the client's side, against the server's own encoders."""

import pytest
from msgspec import Raw

from messenger.client import link as events
from messenger.client.errors import RpcError
from messenger.client.link import Link, compacted
from messenger.wire import messages as m
from messenger.wire.codec import JSON, PROTOBUF, Codec
from messenger.wire.codes import UnsubscribeCode

INFO = m.ClientInfo(user="72", client="c2")
AT_4 = m.SubscribeResult(recoverable=True, positioned=True, epoch="k", offset=4)


class Wire:
    """A link, and what it writes as the server reads it."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.link = Link(codec, "test")

    def reads(self, message: bytes) -> list[m.Command]:
        return self.codec.decode_frame(message, 100)

    def hears(self, *messages: bytes) -> list[events.Event]:
        joined = (b"" if self.codec.BINARY else b"\n").join(messages)
        return self.link.receive(joined)

    def connect(self, **subs: m.SubscribeResult) -> list[events.Event]:
        (command, *_) = self.reads(self.link.connect("T"))
        topics = {name.replace("_", ":"): result for name, result in subs.items()}
        return self.hears(self.codec.reply(command.id, m.ConnectResult(client="c", subs=topics)))


@pytest.fixture(params=[JSON, PROTOBUF], ids=["json", "protobuf"])
def wire(request: pytest.FixtureRequest) -> Wire:
    return Wire(request.param)


def test_given_a_first_connect_when_made_then_the_command_is_complete(wire: Wire) -> None:
    (command,) = wire.reads(wire.link.connect("T", Raw(b'{"a":1}'), "1.0"))

    request = command.request
    assert isinstance(request, m.ConnectRequest)
    assert command.id == 1
    assert (request.token, request.name, request.version) == ("T", "test", "1.0")
    assert (bytes(request.data), request.subs) == (b'{"a":1}', {})


def test_given_server_side_topics_when_connected_then_each_is_told_with_its_publications(
    wire: Wire,
) -> None:
    recovered = m.SubscribeResult(
        recoverable=True,
        epoch="k",
        offset=4,
        was_recovering=True,
        recovered=True,
        publications=[m.Publication(data=Raw(b"5"), offset=5)],
    )

    connected, user, publication, eph = wire.connect(user_1=recovered, eph_1=m.SubscribeResult())

    assert isinstance(connected, events.Connected)
    assert isinstance(user, events.Subscribed)
    assert (user.topic, user.server_side, user.result.recovered) == ("user:1", True, True)
    assert isinstance(publication, events.Published)
    assert (publication.topic, bytes(publication.publication.data)) == ("user:1", b"5")
    assert isinstance(eph, events.Subscribed)
    assert wire.link.positions == {"user:1": m.StreamPosition(5, "k")}


def test_given_positions_when_connecting_again_then_recovery_is_asked_and_ids_go_on(
    wire: Wire,
) -> None:
    wire.connect(user_1=AT_4)
    wire.hears(wire.codec.publication("user:1", b"1", 5))
    wire.link.subscribe(m.SubscribeRequest("room:1", token="S"))

    connect, subscribe = wire.reads(wire.link.connect("T"))

    assert (connect.id, subscribe.id) == (3, 4)
    assert connect.connect is not None
    assert connect.connect.subs.keys() == {"user:1"}
    asked = connect.connect.subs["user:1"]
    assert (asked.recover, asked.offset, asked.epoch) == (True, 5, "k")
    assert subscribe.subscribe is not None
    assert (subscribe.subscribe.token, subscribe.subscribe.recover) == ("S", False)


def test_given_an_invalidated_state_when_connecting_again_then_no_position_can_match(
    wire: Wire,
) -> None:
    wire.connect(user_1=AT_4)

    wire.link.invalidate()

    (command,) = wire.reads(wire.link.connect("T"))
    assert command.connect is not None
    asked = command.connect.subs["user:1"]
    assert (asked.recover, asked.offset, asked.epoch) == (True, 0, "_")


def test_given_a_refused_connect_when_answered_then_it_says_why(wire: Wire) -> None:
    wire.link.connect("T")

    (failed,) = wire.hears(wire.codec.error(1, 109, "token expired"))

    assert isinstance(failed, events.ConnectFailed)
    assert (failed.error.code, failed.error.temporary) == (109, False)


def test_given_requests_when_answered_then_results_and_errors_find_their_ids(wire: Wire) -> None:
    wire.connect()
    first, message = wire.link.request(m.RpcRequest(Raw(b"{}"), "a.b"))
    second, _ = wire.link.request(m.PublishRequest("room:1", Raw(b"1")))
    (command,) = wire.reads(message)

    refused, done = wire.hears(
        wire.codec.error(second, 1004, "TIMEOUT", True),  # noqa: FBT003 - positional by contract
        wire.codec.rpc(first, b'{"n":1}'),
    )

    assert isinstance(command.request, m.RpcRequest)
    assert isinstance(refused, events.Answered)
    assert isinstance(refused.answer, RpcError)
    assert (refused.id, refused.answer.temporary) == (second, True)
    assert isinstance(done, events.Answered)
    assert isinstance(done.answer, m.RpcResult)
    assert (done.id, bytes(done.answer.data)) == (first, b'{"n":1}')


def test_given_a_subscription_when_answered_then_its_position_is_kept_and_continued(
    wire: Wire,
) -> None:
    wire.connect()
    (command,) = wire.reads(wire.link.subscribe(m.SubscribeRequest("room:1")))

    (subscribed,) = wire.hears(wire.codec.reply(command.id, AT_4))

    assert isinstance(subscribed, events.Subscribed)
    assert not subscribed.server_side
    (_, again) = wire.reads(wire.link.connect("T"))
    assert again.subscribe is not None
    assert (again.subscribe.recover, again.subscribe.offset) == (True, 4)


def test_given_a_topic_that_keeps_nothing_any_more_when_answered_then_no_position_is_kept(
    wire: Wire,
) -> None:
    wire.connect(user_1=AT_4)

    wire.connect(user_1=m.SubscribeResult())

    assert wire.link.positions == {}


def test_given_a_refused_subscription_when_answered_then_it_says_why(wire: Wire) -> None:
    wire.connect()
    (command,) = wire.reads(wire.link.subscribe(m.SubscribeRequest("room:1")))

    (failed,) = wire.hears(wire.codec.error(command.id, 103, "permission denied"))

    assert isinstance(failed, events.SubscribeFailed)
    assert (failed.topic, failed.error.code) == ("room:1", 103)


def test_given_a_short_id_when_pushes_carry_it_then_they_belong_to_its_topic(wire: Wire) -> None:
    wire.connect()
    asked = compacted(m.SubscribeRequest("room:1", flag=2))
    (command,) = wire.reads(wire.link.subscribe(asked))
    assert command.subscribe is not None
    assert command.subscribe.flag == 3

    _, publication, joined, left = wire.hears(
        wire.codec.reply(command.id, m.SubscribeResult(id=7)),
        wire.codec.publication_id(7, b"1"),
        wire.codec.join_id(7, INFO),
        wire.codec.leave_id(7, INFO),
    )

    assert isinstance(publication, events.Published)
    assert isinstance(joined, events.Joined)
    assert isinstance(left, events.Left)
    assert {publication.topic, joined.topic, left.topic} == {"room:1"}
    assert joined.info.user == "72"


def test_given_joins_by_name_when_pushed_then_they_are_told(wire: Wire) -> None:
    wire.connect()

    joined, left = wire.hears(wire.codec.join("room:1", INFO), wire.codec.leave("room:1", INFO))

    assert isinstance(joined, events.Joined)
    assert isinstance(left, events.Left)


def test_given_a_ping_when_heard_then_a_pong_waits_to_be_sent(wire: Wire) -> None:
    wire.connect()

    (pinged,) = wire.hears(wire.codec.PING)

    assert isinstance(pinged, events.Pinged)
    assert [wire.reads(message) for message in wire.link.out] == [[m.Command()]]


def test_given_an_automatic_unsubscribe_when_pushed_then_the_link_subscribes_again(
    wire: Wire,
) -> None:
    wire.connect()
    (command,) = wire.reads(wire.link.subscribe(m.SubscribeRequest("room:1")))
    wire.hears(wire.codec.reply(command.id, AT_4))

    (gone,) = wire.hears(wire.codec.unsubscribe("room:1", UnsubscribeCode.INSUFFICIENT_STATE))

    assert isinstance(gone, events.Unsubscribed)
    assert gone.code == 2500
    (again,) = wire.reads(wire.link.out[0])
    assert again.subscribe is not None
    assert (again.subscribe.channel, again.subscribe.offset) == ("room:1", 4)


def test_given_a_final_unsubscribe_when_pushed_then_the_topic_is_wanted_no_more(
    wire: Wire,
) -> None:
    wire.connect()
    (command,) = wire.reads(wire.link.subscribe(m.SubscribeRequest("room:1")))
    wire.hears(wire.codec.reply(command.id, AT_4))

    wire.hears(wire.codec.unsubscribe("room:1", UnsubscribeCode.SERVER))

    assert (wire.link.out, wire.link.wanted, wire.link.positions) == ([], {}, {})


def test_given_a_server_side_topic_that_ends_when_pushed_then_it_is_not_recovered(
    wire: Wire,
) -> None:
    wire.connect(user_1=AT_4)

    wire.hears(wire.codec.unsubscribe("user:1", UnsubscribeCode.SERVER))

    (command,) = wire.reads(wire.link.connect("T"))
    assert command.connect is not None
    assert command.connect.subs == {}


def test_given_a_server_side_topic_that_begins_later_when_pushed_then_it_is_recovered_too(
    wire: Wire,
) -> None:
    wire.connect()
    added = m.Subscribe(recoverable=True, positioned=True, epoch="k", offset=9)

    (subscribed,) = wire.hears(wire.codec.subscribe("more:1", added))

    assert isinstance(subscribed, events.Subscribed)
    assert subscribed.server_side
    (command,) = wire.reads(wire.link.connect("T"))
    assert command.connect is not None
    assert command.connect.subs["more:1"].offset == 9


def test_given_messages_of_a_later_server_when_heard_then_they_are_ignored(wire: Wire) -> None:
    wire.connect()
    if wire.codec.BINARY:
        strange = b"\x02\x22\x00", b"\x05\x08\x63\x82\x01\x00"
    else:
        strange = b'{"push":{"channel":"a","news":{}}}', b'{"id":99,"what":{}}'

    assert wire.hears(*strange) == []


def test_given_a_subscribe_answer_without_result_when_heard_then_nothing_is_told(
    wire: Wire,
) -> None:
    wire.connect()
    (command,) = wire.reads(wire.link.subscribe(m.SubscribeRequest("room:1")))

    assert wire.hears(wire.codec.reply(command.id, m.PublishResult())) == []


def test_given_a_connect_answer_without_result_when_heard_then_nothing_is_told(
    wire: Wire,
) -> None:
    wire.link.connect("T")

    assert wire.hears(wire.codec.reply(1, m.PublishResult())) == []
