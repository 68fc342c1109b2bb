"""Each benchmark, small, on one real platform: it counts all and finds nothing lost."""

from collections.abc import AsyncIterator

import pytest

from loadgen.bench.cli import APART, BENCHMARKS
from loadgen.bench.peer_servers import installed
from loadgen.bench.peers import compare
from loadgen.bench.stage import Scale, Stage, staged

TINY = Scale(
    warm_up_s=0.1,
    window_s=0.3,
    units=1,
    server_s=0.01,
    longest_s=5.0,
    open_s=0.5,
    echoes=5,
    pairs=4,
    readers=205,  # more than 200: the big chat's path
    many_readers=205,
    logins=40,
    idle=(60,),
    settle_s=0.2,
    resumers=30,
    missed=5,
    differences=4,
    chats=4,
    changed=2,
    storm=60,
    batches=(1, 100),
    written_chats=(50,),
    committers=(1, 2),
    commit_s=0.1,
    hop_s=0.3,
    hop_rounds=1,
    slow=5,
    slow_s=20.0,
    plain_s=0.5,
    posts_per_s=4.0,
    peer_rounds=1,
    churned=40,
    drained=40,
    subscribers=(10, 300),
    most_subscribers=(10, 1_000),
    posts=10,
    joiners=3,
    viewers=20,
    viewed=60,
    flooders=12,
    joins_per_s=100.0,
    flood_s=0.5,
)

FIGURES = {
    "echo_rpc": {"rate_per_s", "cpu_us", "cpu_us_w1", "cpu_us_by", "p50_ms", "p99_ms"},
    "direct_durable": {"rate_per_s", "cpu_us", "cpu_us_by", "p50_ms", "p99_ms"},
    "fanout_1k": {"rate_per_s", "cpu_us", "cpu_us_w1", "cpu_us_by", "p50_ms", "p99_ms"},
    "fanout_10k": {"rate_per_s", "cpu_us", "cpu_us_w1", "cpu_us_by", "p50_ms", "p99_ms"},
    "idle_memory": {"kib_per_session"},
    "login": {"rate_per_s", "cpu_us", "cpu_us_by", "p50_ms", "p99_ms"},
    "resume": {"rate_per_s", "cpu_us", "cpu_us_by", "p50_ms", "p99_ms"},
    "group_commit": {"rate_per_s", "cpu_us", "cpu_us_by", "p50_ms", "p99_ms"},
    "bus_hop": {"rate_per_s", "cpu_us", "cpu_us_by", "p50_ms", "p99_ms"},
    "slow_reader": {"rate_per_s", "cpu_us", "cpu_us_by", "p50_ms", "p99_ms"},
    "churn": {"rate_per_s", "cpu_us", "cpu_us_by"},
    "drain": {"p50_ms", "p99_ms"},
    "channel_post": {"rate_per_s", "cpu_us", "cpu_us_by", "p50_ms", "p99_ms"},
    "join_flood": {"rate_per_s", "cpu_us", "cpu_us_by", "p50_ms", "p99_ms"},
    "channel_room": {"rate_per_s", "cpu_us", "cpu_us_w1", "cpu_us_by", "p50_ms", "p99_ms"},
    "channel_views": {"rate_per_s", "cpu_us", "cpu_us_by", "p50_ms", "p99_ms"},
    "reconnect_storm": {"rate_per_s", "cpu_us", "cpu_us_by", "p50_ms", "p99_ms"},
}
"""What each measures; the other figures of its row stay null."""
ALL = set().union(*FIGURES.values())

LONG = {"drain", "fanout_10k", "bus_hop", "channel_room", "channel_post", "slow_reader"}
"""With the others too long for every run: `make proofs`."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
async def stage() -> AsyncIterator[Stage]:
    async with staged(7, TINY) as running:
        yield running


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.proof) if name in LONG else name for name in BENCHMARKS],
)
async def test_given_a_small_scale_when_measured_then_all_is_counted_and_nothing_lost(
    name: str, stage: Stage
) -> None:
    row = await BENCHMARKS[name](stage)

    assert row.name == name
    assert row.n > 0
    assert row.seconds > 0
    assert row.intact, row
    assert {name for name in ALL if getattr(row, name) is not None} == FIGURES[name]
    assert not stage.driver.sessions
    assert stage.platform.complaints() == []


async def test_given_channels_of_two_sizes_when_posted_to_then_both_are_compared(
    stage: Stage,
) -> None:
    row = await APART["channel_post_10m"](stage)

    assert row.intact, row
    assert row.n == 20
    assert set(row.more["p50_ms_by"]) == {"10", "1000"}
    assert row.more["ratio"] >= 1
    assert all(row.more[f"{act}_p50_ms"] > 0 for act in ("join", "first_page", "leave"))


@pytest.mark.proof
@pytest.mark.skipif(not installed()[0], reason="neither nats-server nor mosquitto is installed")
async def test_given_servers_of_others_when_compared_then_both_sides_lose_nothing(
    stage: Stage,
) -> None:
    rows = await compare(stage)

    assert {row.name for row in rows} == {
        f"{name}_{work}" for name in installed()[0] for work in ("direct", "room")
    }
    for row in rows:
        assert row.intact, row
        assert row.more["peer_lost"] == row.more["peer_reordered"] == 0
        assert row.more["peyk_by_peer"] > 0
