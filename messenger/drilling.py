"""`peyk drill`: asks every node of the platform that runs here to drop a share of its sessions."""

import asyncio
from collections.abc import Callable

import msgspec
from msgspec import Struct

from messenger import state
from messenger.client.http import post
from messenger.settings import Settings


class Dropped(Struct, frozen=True):
    """A node's answer to `POST /admin/drill`."""

    sessions: int
    closing: int
    code: int


async def drop(
    settings: Settings,
    platform: state.Platform,
    percent: float,
    window_s: float,
    say: Callable[[str], None],
) -> bool:
    """Drop `percent` of the sessions of each node; whether every node agreed."""
    nodes = [one for one in platform.processes if one.ops_port is not None]
    order = msgspec.json.encode({"share": percent / 100, "window_s": window_s})
    headers = {"Content-Type": "application/json"}
    if settings.api_key:
        headers["X-API-Key"] = settings.api_key
    answers = await asyncio.gather(*(_ask(node, order, headers) for node in nodes))
    done = [answer for answer in answers if isinstance(answer, Dropped)]
    for node, answer in zip(nodes, answers, strict=True):
        if isinstance(answer, str):
            say(f"{node.name} (operations port {node.ops_port}): {answer}")
        else:
            sessions = f"{answer.closing} of {answer.sessions} sessions"
            say(f"{node.name} (operations port {node.ops_port}): closes {sessions}")
    closing, sessions_of_all = sum(a.closing for a in done), sum(a.sessions for a in done)
    codes = ", ".join(sorted({str(answer.code) for answer in done}))
    if done:
        say(
            f"{closing} of {sessions_of_all} sessions go within {window_s:g} s with code {codes};"
            " clients come back by themselves"
        )
    return len(done) == len(nodes)


async def _ask(node: state.Process, order: bytes, headers: dict[str, str]) -> Dropped | str:
    """The answer, or why there is none."""
    try:
        status, body = await post(f"http://127.0.0.1:{node.ops_port}/admin/drill", order, headers)
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        return f"no answer: {type(error).__name__}"
    try:
        if status == 200:
            return msgspec.json.decode(body, type=Dropped)
        why = msgspec.json.decode(body, type=dict[str, str])["error"] if body else "is off"
    except (msgspec.DecodeError, KeyError):
        why = "the answer of another program"
    return f"refused ({status}): {why}"
