"""One typed object for everything an operator may set, read once at start.

Defaults < file < environment < command line. Unknown names, wrong types and values out of range
stop the start with one line. The reasons stand beside the defaults: `peyk settings` and
docs/settings.md are made from them.
"""

import os
import resource
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import field

from messenger.addresses import check_network, database_url, is_loopback, redis_url
from messenger.keeping import StoreSettings
from messenger.reading import Gathered, SettingsError, gather
from messenger.reasons import Port, Positive, secret, why
from messenger.sections import (
    LIMIT_RULES,
    ApiSection,
    ClientSection,
    LimitRule,
    NamespaceOptions,
    RpcSection,
    TokenSection,
    TopicsSection,
    product_namespaces,
)

__all__ = [
    "ApiSection",
    "ClientSection",
    "LimitRule",
    "NamespaceOptions",
    "RpcSection",
    "Settings",
    "SettingsError",
    "TokenSection",
    "TopicsSection",
    "load_settings",
]


KIB = 1024
MIB = 1024 * KIB


class Settings(StoreSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Durations are seconds, sizes are bytes."""

    database_url: Annotated[
        str | None,
        secret("PostgreSQL 15 or later, or Citus. None = embedded, with redis_url", "none"),
    ] = None
    redis_url: Annotated[
        str | None,
        secret(
            "Redis 7 or later, noeviction: redis:// one server, redis+cluster://:password@host:port,"
            "host:port a cluster (some of its hosts; the others are found). "
            "Only one of the two URLs is an error, so that nobody mixes by accident",
            "none",
        ),
    ] = None
    env: Annotated[
        Literal["development", "production"],
        why(
            "production refuses embedded servers, generated secrets, anonymous or insecure "
            "topics and codes written to a file"
        ),
    ] = "development"
    home: Annotated[Path, why("embedded data, generated secrets (0600), state file")] = Path(
        ".peyk"
    )

    host: Annotated[str, why("one port for HTTP and WebSocket; loopback unless said")] = "127.0.0.1"
    port: Annotated[Port, why("below 32768, so that outgoing connections never take it first")] = (
        8000
    )
    ops_port: Annotated[
        Port,
        why("health, metrics, ledger: node i has ops_port + i, a shared port would answer for any"),
    ] = 8100
    ops_host: Annotated[str, why("metrics are for a network of your own alone")] = "127.0.0.1"
    processes: Annotated[
        int,
        why(
            "one event loop a core; one core is left to PostgreSQL and Redis",
            "cores - 1, at least 1",
            ge=1,
            le=256,
        ),
    ] = 1
    roles: Annotated[
        tuple[Literal["gateway", "worker"], ...],
        why("gateway: sessions, rpcs, HTTP; worker: background tasks", min_length=1),
    ] = ("gateway", "worker")
    features: Annotated[
        tuple[Literal["accounts", "chats", "messages", "sync", "channels"], ...],
        why("rpcs of a feature left out answer 1007 FEATURE_OFF"),
    ] = ("accounts", "chats", "messages", "sync", "channels")
    allowed_origins: Annotated[
        tuple[str, ...],
        why("browsers send Origin, apps do not; empty = same origin only, * = any"),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...], why("networks whose X-Forwarded-For is believed; all others lie at will")
    ] = ()

    token_keys: Annotated[
        tuple[str, ...],
        secret("HS256 keys of tokens, >= 32 bytes: the first signs, all verify, so keys rotate"),
    ] = ()
    pepper: Annotated[
        str, secret("keys the hashes of phones and codes; changing it loses every phone")
    ] = ""
    badge_key: Annotated[str, secret("signs the facts behind the blue tick")] = ""
    api_key: Annotated[str, secret("X-API-Key of POST /api/*; none = 404", "none")] = ""
    turn_secrets: Annotated[
        tuple[str, ...], secret("shared with coturn; the first makes passwords", "none")
    ] = ()

    max_sessions: Annotated[
        int,
        why(
            "bounds the storm when a node dies; beyond it an upgrade gets 503 with Retry-After",
            "15,000, at most open files - 512",
            ge=1,
        ),
    ] = 15_000
    upgrade_rate: Annotated[
        Positive[float], why("upgrades a second and node; beyond: 503 before the handshake")
    ] = 3_000.0
    upgrade_burst: Annotated[Positive[int], why("upgrades at once after a quiet time")] = 6_000
    command_rate: Annotated[
        Positive[float], why("commands a second of a session, over 5 s; beyond: close 3013")
    ] = 200.0
    frame_bytes: Annotated[
        int, why("protocol default; beyond: close 1009", ge=1_024, le=16 * MIB)
    ] = 64 * KIB
    frame_commands: Annotated[
        int, why("connect and 100 subscriptions come in one frame; beyond: close 3501", ge=1)
    ] = 128
    message_chars: Annotated[int, why("beyond: 1302", ge=1, le=65_536)] = 4_096
    message_bytes: Annotated[
        int, why("far below a frame, also with entities and escapes; beyond: 1302", ge=1)
    ] = 16_384
    max_subscriptions: Annotated[
        int,
        why("each costs memory and a stream read at every reconnect; beyond: error 106", ge=1),
    ] = 100
    in_flight: Annotated[
        int, why("commands of one session being answered; beyond: reading pauses", ge=1)
    ] = 16

    ping: Annotated[
        Positive[float], why("protocol default; the first is spread over [ping/2, ping]")
    ] = 25.0
    pong: Annotated[Positive[float], why("protocol default; no answer in time: close 3012")] = 10.0
    stale: Annotated[
        Positive[float], why("protocol default; no connect command in time: close 3502")
    ] = 15.0
    expired_grace: Annotated[Positive[float], why("for a late refresh; then 3005, 2501")] = 25.0

    notsent_lowat: Annotated[
        int, why("on the listening socket; else the kernel hides ~3.9 MB a stalled client", ge=1)
    ] = 16 * KIB
    write_high: Annotated[int, why("bytes in the transport above which a session lags", ge=1)] = (
        64 * KIB
    )
    write_low: Annotated[int, why("bytes below which it no longer lags", ge=0)] = 16 * KIB
    lag_bytes: Annotated[int, why("waiting for one lagging session; beyond: close 3008", ge=1)] = (
        128 * KIB
    )
    lag_seconds: Annotated[Positive[float], why("of lagging; beyond: close 3008")] = 10.0
    lag_total: Annotated[
        int, why("waiting for all lagging sessions of a node; beyond: close 3008", ge=1)
    ] = 256 * MIB

    commit_window: Annotated[
        Positive[float], why("sends wait this long to share a commit; people do not notice")
    ] = 0.005
    commit_window_quiet: Annotated[float, why("the same when the last batch was small", ge=0)] = (
        0.001
    )
    commit_rows: Annotated[int, why("beyond 200 rows a batch gains little", ge=1)] = 500
    commit_queue: Annotated[
        int, why("0.1-0.2 s of work; full: 1000 OVERLOADED, repeating costs less", ge=1)
    ] = 5_000
    commit_deadline: Annotated[
        Positive[float], why("a send waits no longer; then 1004 TIMEOUT: it may be done")
    ] = 3.0
    db_pool: Annotated[
        int,
        why("1 committer and 7 readers a node; all nodes must fit max_connections", ge=2),
    ] = 8
    statement_timeout: Annotated[
        Positive[float], why("a statement slower than this is stopped and refused")
    ] = 2.0
    redis_timeout: Annotated[
        Positive[float], why("beyond: the link is opened anew and positions are checked")
    ] = 1.0
    bus_queue: Annotated[
        int,
        why("bytes a link may hold for a Redis that stopped reading, x8 for one that reads", ge=1),
    ] = 8 * MIB

    hot_window: Annotated[
        int, why("publications kept a topic: a short absence needs no SQL", ge=1)
    ] = 300
    hot_window_ttl: Annotated[Positive[float], why("and for how long")] = 3_600.0
    recovery_max: Annotated[
        int, why("publications in one reply; more: recovered:false, then sync.difference", ge=1)
    ] = 300
    recovery_bytes: Annotated[int, why("and their bytes: one reply holds them", ge=1)] = 256 * KIB
    difference_slice: Annotated[
        int, why("events a chat and call, as TDLib's MAX_CHANNEL_DIFFERENCE", ge=1, le=1_000)
    ] = 100
    small_chat: Annotated[
        int,
        why("members; ~200 stream appends = 0.9 ms of Redis, beyond it one publish", ge=2),
    ] = 200

    otp_digits: Annotated[int, why("5 guesses in 10^5 a code, 3 codes", ge=4, le=10)] = 5
    otp_ttl: Annotated[Positive[float], why("long enough for a slow text message")] = 120.0
    otp_tries: Annotated[int, why("guesses a code; then a new ticket", ge=1, le=10)] = 5
    otp_resend: Annotated[Positive[float], why("before the same phone may ask again")] = 60.0
    token_ttl: Annotated[
        Positive[float], why("a reconnect storm needs no SQL; revocation does not wait for it")
    ] = 86_400.0
    refresh_idle: Annotated[
        Positive[float], why("a device unused for longer signs in again; rotated at each use")
    ] = 30 * 86_400.0
    code_sender: Annotated[
        Literal["file", "console", "none"],
        why(
            "file: home/codes.jsonl (0600); console: stdout, never the log; none: accounts are "
            "made by `peyk token` alone. Production takes none of the first two"
        ),
    ] = "file"
    drain_notice: Annotated[
        float, why("between go-away and closing: the load balancer's probe period", ge=0)
    ] = 2.0
    drain_rate: Annotated[
        float, why("sessions sent away a second, so that they do not return at once; 0 = all", ge=0)
    ] = 1_000.0

    client: ClientSection = ClientSection()
    rpc: RpcSection = RpcSection()
    api: ApiSection = ApiSection()
    topics: TopicsSection = TopicsSection()
    limits: dict[str, LimitRule] = field(default_factory=dict)

    @property
    def embedded(self) -> bool:
        """The platform brings its own PostgreSQL and Redis."""
        return self.database_url is None and self.redis_url is None


def load_settings(
    config: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any]
) -> Settings:
    """The settings of this process, checked as a whole. Raises SettingsError."""
    return settings_of(gather(Settings, config, environ, overrides))


def settings_of(gathered: Gathered) -> Settings:
    """Fill in what depends on the machine or on other settings, then check it all."""
    values = {"processes": max(1, (os.cpu_count() or 2) - 1), "max_sessions": _session_bound()}
    settings = Settings(**{**values, **gathered.values})
    settings = msgspec.structs.replace(
        settings,
        database_url=settings.database_url and database_url(settings.database_url),
        redis_url=settings.redis_url and redis_url(settings.redis_url),
        topics=_topics(settings),
        limits=_limits(settings.limits),
        **_keys(settings),
    )
    _check_pairs(settings)
    _check_reach(settings)
    if settings.env == "production":
        _check_production(settings)
    return settings


def _session_bound() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = 15_512 if soft == resource.RLIM_INFINITY else soft
    return max(1, min(15_000, files - 512))


def _topics(settings: Settings) -> TopicsSection:
    own = settings.topics.ns
    product = product_namespaces(settings.hot_window, settings.hot_window_ttl)
    for name in own.keys() & product.keys():
        if settings.rpc.enabled:
            raise SettingsError(f"topics.ns.{name}: the product's own; needs rpc.enabled = false")
    topics = msgspec.structs.replace(settings.topics, ns={**product, **own})
    named = {f"ns.{name}": options for name, options in own.items()}
    if topics.default is not None:
        named["default"] = topics.default
    for name, options in named.items():
        if problem := options.problem():
            raise SettingsError(f"topics.{name}: {problem}")
    return topics


def _limits(own: Mapping[str, LimitRule]) -> dict[str, LimitRule]:
    for name in own:
        if name not in LIMIT_RULES:
            raise SettingsError(f'limits."{name}": unknown rule')
    return {**LIMIT_RULES, **own}


def _keys(settings: Settings) -> dict[str, Any]:
    """Two names of one thing (protocol.md names the section, operators the setting) made equal."""
    token = settings.client.token
    keys = _one_of("token_keys", settings.token_keys, "client.token.hs256_secret", token.keys)
    api_key = _one_of("api_key", settings.api_key, "api.key", settings.api.key)
    token = msgspec.structs.replace(token, hs256_secret=keys)
    sub_token = settings.client.sub_token or token
    sub_token = msgspec.structs.replace(sub_token, hs256_secret=sub_token.keys or keys)
    return {
        "token_keys": keys,
        "api_key": api_key,
        "api": msgspec.structs.replace(settings.api, key=api_key),
        "client": msgspec.structs.replace(settings.client, token=token, sub_token=sub_token),
    }


Value = TypeVar("Value", str, tuple[str, ...])


def _one_of(name: str, value: Value, alias: str, other: Value) -> Value:
    if value and other and value != other:
        raise SettingsError(f"{name}: {alias} says something else; give one of them")
    return value or other


def _check_pairs(settings: Settings) -> None:
    if (settings.database_url is None) != (settings.redis_url is None):
        missing = "REDIS_URL" if settings.redis_url is None else "DATABASE_URL"
        raise SettingsError(f"{missing}: missing, the other one is set; give both or neither")
    if settings.write_low > settings.write_high:
        raise SettingsError("write_low: above write_high")
    for network in settings.trusted_proxies:
        check_network(network)


def _check_reach(settings: Settings) -> None:
    """What is harmless on the loopback and a hole on a network."""
    if is_loopback(settings.host):
        return
    for name, on in (("client", settings.client.insecure), ("api", settings.api.insecure)):
        if on:
            raise SettingsError(f"{name}.insecure: only with a loopback host, not {settings.host}")
    for name, secrets in _secrets(settings):
        if any(len(text.encode()) < 32 for text in secrets if text):
            raise SettingsError(f"{name}: shorter than 32 bytes, and host is not the loopback")


def _secrets(settings: Settings) -> Iterable[tuple[str, Iterable[str]]]:
    sub_token = settings.client.sub_token
    yield "token_keys", settings.token_keys
    yield "client.sub_token", sub_token.keys if sub_token else ()
    yield "pepper", (settings.pepper,)
    yield "badge_key", (settings.badge_key,)
    yield "api_key", (settings.api_key,)
    yield "turn_secrets", settings.turn_secrets


def _check_production(settings: Settings) -> None:
    if settings.embedded:
        raise SettingsError("DATABASE_URL: production needs it; embedded servers are refused")
    for name in ("token_keys", "pepper", "badge_key"):
        if not getattr(settings, name):
            raise SettingsError(f"{name}: production needs it; generated secrets are refused")
    if settings.client.insecure or settings.api.insecure or settings.client.allow_anonymous:
        raise SettingsError("client: insecure and allow_anonymous are refused in production")
    if settings.code_sender != "none":
        raise SettingsError(f"code_sender: {settings.code_sender} is refused in production")
    default = settings.topics.default
    for name, options in [*settings.topics.ns.items(), ("default", default)]:
        if options is not None and options.anonymous:
            raise SettingsError(f"topics.{name}: anonymous access is refused in production")
