"""The command `peyk`: reads arguments, starts the right thing, turns refusals into one line.

Exit codes: 0; 1 failed or lost something; 2 refused to start.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from messenger.drilling import drop
from messenger.embedded.binaries import EmbeddedError
from messenger.explained import listing
from messenger.home import complete
from messenger.logs import configure
from messenger.preflight import StartRefusedError
from messenger.processes import GaveUpError
from messenger.reading import CONFIG, SettingsError, gather
from messenger.settings import Settings, settings_of
from messenger.state import running
from messenger.stores import borrowed, migrated, spread
from messenger.supervisor import supervise

REFUSED = 2
INTERRUPTED = 130

PROGRAMS = {
    "demo": (
        "loadgen.demo",
        "200 people talk on a platform of its own; no message may be lost",
    ),
    "bench": ("loadgen.bench", "measure parts of the platform on this machine"),
}
"""Programs of their own, started with the rest of the command line; the core never imports them."""

LATER = ("admin-init", "agencies-sim", "audit", "bus", "calls", "load", "station")

EPILOGUE = """\
Without DATABASE_URL and REDIS_URL, peyk brings its own PostgreSQL and Redis and keeps their data
in --home. All settings: `peyk settings`. Exit codes: 0 done, 1 failed, 2 refused to start.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code of the process."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in PROGRAMS:
        return _become(PROGRAMS[words[0]][0], words[1:])
    if words and words[0] in LATER:
        return _refuse(f"`peyk {words[0]}` is not part of this version")
    options = parser().parse_args(words)
    try:
        return int(options.run(options))
    except (SettingsError, EmbeddedError, StartRefusedError) as error:
        return _refuse(str(error))
    except GaveUpError as error:
        print(f"peyk: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `peyk settings | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parser() -> argparse.ArgumentParser:
    """The whole command line, for `--help` and for tests."""
    whole = argparse.ArgumentParser(
        prog="peyk",
        description="The backend of a messenger: accounts, chats, messages, sync.",
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)

    serve = commands.add_parser("serve", help="the platform: stores if none are given, then nodes")
    _common(serve)
    serve.add_argument("--host", help="where to listen (default 127.0.0.1)")
    serve.add_argument("--port", help="of HTTP and WebSocket (default 8000)")
    serve.add_argument("--processes", metavar="N", help="nodes (default: one per core but one)")
    serve.add_argument(
        "--redis-nodes",
        type=int,
        choices=range(1, 17),
        metavar="N",
        help="of the Redis Cluster it brings along (default 1; once, for a new --home)",
    )
    serve.set_defaults(run=_serve)

    node = commands.add_parser("node", help="one node on given stores, as in a cluster")
    _common(node)
    node.add_argument("--host", help="where to listen (default 127.0.0.1)")
    node.add_argument("--port", help="of HTTP and WebSocket (default 8000)")
    node.add_argument("--ops-port", help="of health and metrics (default 8100)")
    node.set_defaults(run=_node)

    migrating = commands.add_parser("migrate", help="bring the database to this version's tables")
    _common(migrating)
    migrating.add_argument(
        "--citus", action="store_true", help="and spread them over the workers of Citus"
    )
    migrating.set_defaults(run=_migrate)

    settings = commands.add_parser("settings", help="every setting: value, source, reason")
    _common(settings)
    settings.set_defaults(run=_settings)

    token = commands.add_parser("token", help="a token for a phone, without a code; one JSON line")
    _common(token)
    token.add_argument("phone", metavar="PHONE", help="in international form: +989120000001")
    token.add_argument("--name", help="makes the account when there is none")
    token.set_defaults(run=_token)

    _drills(commands)
    for name, (_, text) in PROGRAMS.items():
        commands.add_parser(name, help=f"{text} (options: peyk {name} --help)")
    return whole


def _drills(commands: Any) -> None:
    drill = commands.add_parser("drill", help="drop sessions on purpose: `peyk drill drop`")
    drills = drill.add_subparsers(title="drills", metavar="DRILL", required=True)
    drop = drills.add_parser("drop", help="close a share of all sessions; clients come back")
    _common(drop)
    drop.add_argument("--percent", type=_share, required=True, metavar="P", help="above 0 to 100")
    drop.add_argument(
        "--window", type=_window, default=10.0, metavar="S", help="spread over S seconds (10)"
    )
    drop.set_defaults(run=_drop)


def _common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", type=Path, metavar="FILE", help="settings as TOML")
    command.add_argument("--home", help="folder of data, secrets and state (default .peyk)")


def _read(options: argparse.Namespace) -> tuple[Settings, dict[str, str]]:
    names = ("home", "host", "port", "processes", "ops_port")
    overrides: dict[str, Any] = {name: getattr(options, name, None) for name in names}
    gathered = gather(Settings, options.config, os.environ, overrides)
    return settings_of(gathered), gathered.sources


def _serve(options: argparse.Namespace) -> int:
    settings = complete(_read(options)[0])
    environ = dict(os.environ)
    if options.config is not None:
        environ[CONFIG] = str(options.config.absolute())
    configure("supervisor")
    asyncio.run(supervise(settings, environ, _say, redis_nodes=options.redis_nodes))
    return 0


def _node(options: argparse.Namespace) -> int:
    from messenger.serving import run_node  # the whole platform: only this command needs it

    return run_node(complete(_read(options)[0]))


def _migrate(options: argparse.Namespace) -> int:
    async def run() -> str:
        async with borrowed(complete(_read(options)[0])) as settings:
            url = settings.database_url or ""
            revision = await migrated(url)
            if options.citus:
                for line in await spread(url):
                    _say(line)
            return revision

    _say(f"the database is at revision {asyncio.run(run())}")
    return 0


def _settings(options: argparse.Namespace) -> int:
    settings, sources = _read(options)
    for line in listing(settings, sources):
        _say(line)
    return 0


def _token(options: argparse.Namespace) -> int:
    from messenger.accounts.issuing import issue_token
    from messenger.db.engine import Database
    from messenger.feature import Refused
    from messenger.tokens import ConnectionTokens

    async def run() -> bytes:
        async with borrowed(complete(_read(options)[0])) as settings:
            url = settings.database_url or ""
            if settings.env != "production":
                await migrated(url)
            database = await Database.connect(url, 2, settings.statement_timeout)
            try:
                section = settings.client.token
                tokens = ConnectionTokens(settings.token_keys, section.audience, section.issuer)
                issued = await issue_token(database, settings, tokens, options.phone, options.name)
            finally:
                await database.close()
        return msgspec.json.encode(issued)

    try:
        _say(asyncio.run(run()).decode())
    except Refused as refused:
        print(f"peyk: {refused.message}", file=sys.stderr)
        return 1
    return 0


def _share(text: str) -> float:
    return _within(text, 0.01, 100)


def _window(text: str) -> float:
    return _within(text, 0, 600)


def _within(text: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{text} is not within {least:g} to {most:g}")
    return value


def _drop(options: argparse.Namespace) -> int:
    settings = complete(_read(options)[0])
    platform = running(settings.home)
    if platform is None:
        return _refuse(
            f"no platform runs in {settings.home}; for a lone node: POST /admin/drill"
            " on its operations port"
        )
    agreed = asyncio.run(drop(settings, platform, options.percent, options.window, _say))
    return 0 if agreed else 1


def _become(module: str, words: Sequence[str]) -> int:
    """Turn into another program; this process ends as that one."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *words])  # noqa: S606 - our own module


def _say(line: str) -> None:
    print(line, flush=True)


def _refuse(reason: str) -> int:
    print(f"peyk: {reason}", file=sys.stderr)
    return REFUSED
