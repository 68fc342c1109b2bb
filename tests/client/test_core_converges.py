"""Whatever the network does to updates and answers, the client ends with what the server has."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from messenger.client.calls import Call
from messenger.client.core import Core
from messenger.client.errors import Json, RpcError
from messenger.client.line import HOLD_S
from tests.client.plain_server import ME, OTHER, PlainChat, PlainServer

BIG = "900"
picks = st.integers(0, 10_000)


class Device(RuleBasedStateMachine):
    """One device, one network that reorders, repeats and loses, one plain server."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.minted = 0
        self.server = PlainServer()
        self.core = Core(ME, random_id=self.mint, spread=lambda s: 0.0, on_update=self.applied)
        self.wire: list[Json] = []
        self.calls: list[Call] = []
        self.opened = False
        self.seen: dict[str, int] = {}

    def mint(self) -> int:
        self.minted += 1
        return self.minted

    def applied(self, update: Json) -> None:
        """Each event once and in order, as long as the line is not fetched anew."""

    @initialize()
    def first_session(self) -> None:
        for id in ("100", "101", "102"):
            self.server.join(id)
        self.server.join(BIG, big=True)
        self.server.post(self.server.chats["100"], OTHER, "before")
        self.core.on_connected(recovered=False, now=self.now)

    # The server's life

    def chat(self, pick: int) -> PlainChat:
        mine = self.server.mine()
        return mine[pick % len(mine)]

    def tell(self, update: Json | None) -> None:
        if update is None:
            return
        chat = self.server.chats.get(update.get("chat", ""))
        if "ev" in update and chat is not None and chat.big and not self.opened:
            dirty = {"t": "chat.dirty", "chat": chat.id, "epoch": chat.epoch}
            self.wire.append({**dirty, "ev": chat.ev, "seq": chat.last_seq, "at": 0})
        else:
            self.wire.append(update)

    @rule(pick=picks, mine=st.booleans())
    def posts(self, pick: int, *, mine: bool) -> None:
        chat = self.chat(pick)
        self.tell(self.server.post(chat, ME if mine else OTHER, f"text {pick}"))
        if mine:
            self.tell(self.server.read(chat, chat.last_seq))

    @rule(pick=picks, which=st.sampled_from(["edit", "delete", "react", "hide", "read", "clear"]))
    def touches_a_message(self, pick: int, which: str) -> None:
        chat = self.chat(pick)
        if not chat.last_seq:
            return
        seq = pick % chat.last_seq + 1
        arguments: dict[str, tuple[object, ...]] = {
            "edit": (f"edited {pick}",),
            "react": ({"+": pick % 3} if pick % 3 else {},),
        }
        change = getattr(self.server, which)
        self.tell(change(chat, seq, *arguments.get(which, ())))

    @rule(pick=picks)
    def renames_and_mutes(self, pick: int) -> None:
        self.tell(self.server.rename(self.chat(pick), f"title {pick}"))
        self.tell(self.server.mute(self.chat(pick), pick))

    @rule(pick=st.integers(100, 104))
    def joins_or_leaves(self, pick: int) -> None:
        chat = self.server.chats.get(str(pick))
        if chat is None or not chat.member:
            self.tell(self.server.join(str(pick)))
        elif len(self.server.mine()) > 2:
            self.tell(self.server.leave(chat))

    # The network

    @precondition(lambda self: self.wire)
    @rule(pick=picks, twice=st.booleans())
    def delivers_any(self, pick: int, *, twice: bool) -> None:
        update = self.wire.pop(pick % min(4, len(self.wire)))
        for _ in range(2 if twice else 1):
            if self.core.connected:
                self.core.on_publication(update, self.now)

    @precondition(lambda self: self.wire)
    @rule(pick=picks)
    def loses(self, pick: int) -> None:
        self.wire.pop(pick % len(self.wire))

    @rule(pick=picks)
    def answers(self, pick: int) -> None:
        self.calls += self.core.calls.ready(self.now)
        if self.calls:
            self.answer(self.calls.pop(pick % len(self.calls)))

    @precondition(lambda self: self.calls)
    @rule(pick=picks)
    def refuses_for_now(self, pick: int) -> None:
        call = self.calls.pop(pick % len(self.calls))
        refusal = RpcError(1000, 'OVERLOADED {"retry_after_ms":50}', temporary=True)
        self.core.on_answer(call, refusal, self.now)

    @rule(seconds=st.sampled_from([0.1, HOLD_S, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.core.tick(self.now)

    @rule(recovered=st.booleans())
    def reconnects(self, *, recovered: bool) -> None:
        self.calls.clear()
        self.core.on_disconnected()
        self.now += 1.0
        self.opened = False
        self.core.close_big(BIG)
        self.core.on_connected(recovered=recovered, now=self.now)
        if recovered:
            self.wire, replayed = [], self.wire
            for update in replayed:
                if update["t"] != "chat.dirty":
                    self.core.on_publication(update, self.now)
        else:
            self.wire.clear()

    @rule(pick=picks)
    def restores_from_a_backup(self, pick: int) -> None:
        chat = self.chat(pick)
        self.server.restore(chat, chat.ev * (pick % 3) // 3)
        self.reconnects(recovered=False)

    @precondition(lambda self: not self.opened and BIG in self.core.state.chats)
    @rule()
    def opens_the_big_chat(self) -> None:
        self.opened = True
        self.core.open_big(BIG)

    @precondition(lambda self: self.core.state.chats)
    @rule(pick=picks)
    def sends(self, pick: int) -> None:
        known = sorted(self.core.state.chats.keys() & {c.id for c in self.server.mine()})
        if known:
            self.core.send(known[pick % len(known)], f"mine {pick}")

    def answer(self, call: Call) -> None:
        sent = len(self.server.sent)
        id = call.data.get("chat")
        if id is not None and not self.server.chats[id].member:
            self.core.on_answer(call, RpcError(1202, "NO_CHAT"), self.now)
            return
        result = self.server.answer(call.method, call.data)
        if len(self.server.sent) > sent:
            chat = self.server.chats[call.data["chat"]]
            self.tell(chat.events[-1])
            self.tell(self.server.read(chat, chat.last_seq))
        self.core.on_answer(call, result, self.now)

    # What must hold

    @invariant()
    def numbers_never_run_ahead(self) -> None:
        if any(chat.epoch > 1 for chat in self.server.chats.values()):
            return
        assert self.core.state.aev <= self.server.aev
        for chat in self.core.state.chats.values():
            assert chat.ev <= self.server.chats[chat.id].ev

    def teardown(self) -> None:
        """A last event on every line arrives; nothing else is needed to converge."""
        if not self.server.chats:
            return
        self.settle()
        for chat in self.server.mine():
            self.tell(self.server.post(chat, OTHER, "last"))
        self.tell(self.server.mute(self.server.mine()[0], 1))
        for update in self.wire[-len(self.server.mine()) - 1 :]:
            self.core.on_publication(update, self.now)
        self.wire.clear()
        self.settle()
        assert self.core.problems == []
        self.compare()

    def settle(self) -> None:
        for _ in range(400):
            self.calls += self.core.calls.ready(self.now)
            if self.calls:
                self.answer(self.calls.pop(0))
                continue
            due = self.core.due()
            if due is None or due > self.now + 100:
                return
            self.now = max(self.now, due)
            self.core.tick(self.now)
        raise AssertionError("the client does not come to rest")

    def compare(self) -> None:
        state = self.core.state
        assert state.aev == self.server.aev
        assert sorted(state.chats) == sorted(chat.id for chat in self.server.mine())
        for truth in self.server.mine():
            known = state.chats[truth.id]
            assert (known.epoch, known.last_seq) == (truth.epoch, truth.last_seq)
            assert (known.read_seq, known.cleared_seq) == (truth.read_seq, truth.cleared_seq)
            assert known.settings.get("muted_until", 0) == truth.muted_until
            if truth.big and not self.opened:
                assert max(known.ev, known.head_ev) == truth.ev
                continue
            assert known.ev == truth.ev
            assert known.unread == truth.unread
            assert known.info.get("title", "") == truth.title
            for seq in range(min(known.messages), truth.last_seq + 1):
                if seq not in truth.hidden:
                    assert known.messages[seq] == truth.messages[seq]


TestDevice = Device.TestCase
TestDevice.settings = settings(
    max_examples=120,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.proof
@pytest.mark.timeout(1_800)
def test_given_thousands_of_new_lives_when_they_end_then_the_client_has_what_the_server_has() -> (
    None
):
    more = settings(TestDevice.settings, max_examples=5_000, derandomize=False, database=None)
    run_state_machine_as_test(Device, settings=more)
