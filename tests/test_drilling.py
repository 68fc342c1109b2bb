"""`peyk drill drop`: what it asks of each node, and what an operator reads."""

import os
from pathlib import Path

import pytest

from messenger import state
from messenger.cli import main
from messenger.drilling import drop
from messenger.processes import started_at
from messenger.settings import Settings
from tests.support.line import joined
from tests.support.platform import Platform, running


def platform_of(node: Platform, *ports: int) -> state.Platform:
    return state.Platform(
        pid=os.getpid(),
        started=started_at(os.getpid()),
        host="127.0.0.1",
        port=node.settings.port,
        database_url="",
        redis_url="",
        processes=(
            state.Process(name="redis", role="redis", pid=1, started=0.0),
            *(
                state.Process(name=f"node-{n}", role="node", pid=1, started=0.0, ops_port=port)
                for n, port in enumerate(ports)
            ),
        ),
        ready=True,
    )


async def test_given_two_nodes_when_all_is_dropped_then_each_closes_its_own_and_says_how_many(
    settings: Settings,
) -> None:
    async with running(settings) as one, running(settings) as other:
        mina = await one.signs_up("Mina")
        said: list[str] = []
        async with joined(one.ws_url, mina.token) as line:
            ports = one.settings.ops_port, other.settings.ops_port
            assert await drop(settings, platform_of(one, *ports), 100, 0.0, said.append)
            assert await line.close_code() == (3011, "force reconnect")

    assert said == [
        f"node-0 (operations port {ports[0]}): closes 1 of 1 sessions",
        f"node-1 (operations port {ports[1]}): closes 0 of 0 sessions",
        "1 of 1 sessions go within 0 s with code 3011; clients come back by themselves",
    ]


async def test_given_a_node_that_is_gone_when_dropped_then_it_is_named_and_the_answer_is_no(
    settings: Settings,
) -> None:
    async with running(settings) as node:
        gone = platform_of(node, node.settings.ops_port, 1)
        said: list[str] = []
        assert not await drop(settings, gone, 50, 0.0, said.append)
    assert "no answer" in said[1]


def test_given_no_platform_when_dropped_then_it_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["drill", "drop", "--percent", "30", "--home", str(tmp_path)]) == 2
    assert "no platform runs in" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--percent", "0"], ["--percent", "101"], ["--percent", "x"]])
def test_given_a_share_out_of_bounds_when_read_then_usage_and_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["drill", "drop", *words])
    assert ended.value.code == 2
