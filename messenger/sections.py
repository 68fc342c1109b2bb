"""The sections of the configuration file: who may connect, which topics exist, which limits hold.

Their names and options are those of protocol.md, so that a Centrifugo configuration is
recognised at sight. They come from the file alone; the environment sets top-level names only.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

from msgspec import Meta, Struct, field

Value = TypeVar("Value")
Count = Annotated[int, Meta(ge=0)]
DAY = 86_400.0
PRODUCT_SOURCES = frozenset({"user", "eph", "chat"})


class TokenSection(Struct, frozen=True, forbid_unknown_fields=True):
    """How tokens of one kind are verified: HS256 only."""

    hs256_secret: tuple[str, ...] | str = ()
    """A list rotates: the first signs, all verify. A tuple once the settings are loaded."""
    audience: str = ""
    issuer: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """The secrets as a list, however the file wrote them."""
        secret = self.hs256_secret
        return (secret,) if isinstance(secret, str) else secret


class ClientSection(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may open a connection, and what it listens to without asking."""

    insecure: bool = False
    """No token needed, every configured topic is open: development on a loopback host only."""
    allow_anonymous: bool = False
    personal: tuple[str, ...] = ("user:{user}", "eph:{user}")
    token: TokenSection = TokenSection()
    sub_token: TokenSection | None = None
    """Never None once the settings are loaded: absent means the same as `token`."""


class RpcSection(Struct, frozen=True, forbid_unknown_fields=True):
    """Switched off, every rpc answers 108: a publish/subscribe server without a product."""

    enabled: bool = True


class ApiSection(Struct, frozen=True, forbid_unknown_fields=True):
    """The HTTP publish API; neither key nor `insecure` = 404."""

    key: str = ""
    insecure: bool = False


class NamespaceOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """What topics of one namespace keep and allow; everything is off unless it is said."""

    source: Literal["stream", "live", "user", "eph", "chat"] = "stream"
    history_size: Count = 0
    history_ttl_s: Annotated[float, Meta(ge=0)] = 0.0
    history_meta_ttl_s: Annotated[float, Meta(gt=0)] = 30 * DAY
    """Offset and epoch outlive the publications, else a quiet topic would lose its positions."""
    presence: bool = False
    join_leave: bool = False
    force_push_join_leave: bool = False
    force_recovery: bool = False
    allow_recovery: bool = False
    force_positioning: bool = False
    allow_positioning: bool = False
    compaction: bool = False
    allow_user_limited_channels: bool = False
    allow_subscribe_for_client: bool = False
    allow_subscribe_for_anonymous: bool = False
    allow_publish_for_subscriber: bool = False
    allow_publish_for_client: bool = False
    allow_publish_for_anonymous: bool = False
    allow_presence_for_subscriber: bool = False
    allow_presence_for_client: bool = False
    allow_presence_for_anonymous: bool = False
    allow_history_for_subscriber: bool = False
    allow_history_for_client: bool = False
    allow_history_for_anonymous: bool = False

    @property
    def is_product(self) -> bool:
        """Its numbers belong to the product: nobody but the product publishes there."""
        return self.source in PRODUCT_SOURCES

    @property
    def has_history(self) -> bool:
        return self.history_size > 0 and self.history_ttl_s > 0

    @property
    def anonymous(self) -> bool:
        """A connection without a user may do something here."""
        return (
            self.allow_subscribe_for_anonymous
            or self.allow_publish_for_anonymous
            or self.allow_presence_for_anonymous
            or self.allow_history_for_anonymous
        )

    def problem(self) -> str | None:
        """Options that contradict each other, as one sentence."""
        numbered = (
            self.force_recovery
            or self.allow_recovery
            or self.force_positioning
            or self.allow_positioning
        )
        if self.source == "stream" and numbered and not self.has_history:
            return "recovery and positioning need history_size and history_ttl_s above 0"
        if self.source == "live" and (numbered or self.history_size > 0):
            return 'source "live" keeps no history: no history_size, recovery or positioning'
        return None


class TopicsSection(Struct, frozen=True, forbid_unknown_fields=True):
    """Options of each namespace; `default` is for topics without a colon, None = unknown."""

    default: NamespaceOptions | None = None
    ns: Mapping[str, NamespaceOptions] = field(default_factory=dict)


class LimitRule(Struct, frozen=True, forbid_unknown_fields=True):
    """A token bucket: `burst` at once, then `per_s` a second (0 = `burst` in all)."""

    burst: Annotated[float, Meta(gt=0)]
    per_s: Annotated[float, Meta(ge=0)]


def product_namespaces(hot_window: int, hot_window_ttl: float) -> dict[str, NamespaceOptions]:
    """The namespaces that exist without configuration: a person's streams and open chats."""
    window = NamespaceOptions(
        source="user",
        history_size=hot_window,
        history_ttl_s=hot_window_ttl,
        force_recovery=True,
        force_positioning=True,
    )
    return {
        "user": window,
        "eph": NamespaceOptions(source="eph"),
        "chat": NamespaceOptions(
            source="chat", force_recovery=True, force_positioning=True, compaction=True
        ),
    }


LIMIT_RULES: Mapping[str, LimitRule] = {
    "otp.phone": LimitRule(3, 1 / 600),  # a text message costs money and patience
    "otp.net": LimitRule(20, 1 / 30),  # a carrier's NAT holds many honest people
    "otp.try": LimitRule(5, 0),  # 5 guesses in 10^5
    "msg.account": LimitRule(60, 1),  # figures of signalapp/Signal-Server
    "msg.chat": LimitRule(20, 0.5),
    "msg.stranger": LimitRule(20, 20 / DAY),  # direct chats first opened today
    "msg.stranger_new": LimitRule(5, 5 / DAY),  # the same for an account of today
    "typing": LimitRule(1, 0.25),
    "typing.all": LimitRule(10, 2),  # of one account in all chats, those it is not in included
    "presence": LimitRule(5, 0.2),
    "read": LimitRule(20, 2),
    "view": LimitRule(20, 2),
    "sync": LimitRule(30, 1),
    "history": LimitRule(60, 10),
    "search": LimitRule(10, 0.5),
    "media.count": LimitRule(100, 0.1),
    "media.bytes": LimitRule(2**31, 2**31 / DAY),
    "chat.create": LimitRule(5, 10 / DAY),
    "chat.join": LimitRule(20, 100 / DAY),
    "chat.link": LimitRule(20, 50 / DAY),
    "join.tries": LimitRule(1_000, 200),  # by one link's chat or one name: each costs four reads
    "join.channel": LimitRule(500, 50),  # into one channel, on one node: more is a bought crowd
    "join.verified": LimitRule(5_000, 500),  # real news, and still no flood for the database
    "join.net": LimitRule(50, 0.5),  # the same from one network: a carrier's NAT, not a farm
    "account.read": LimitRule(60, 10),
    "account.change": LimitRule(20, 1),  # each is a fact for all devices
    "resolve": LimitRule(30, 0.5),  # people, not a census of names
    "username": LimitRule(5, 5 / DAY),  # each leaves a name that nobody may have for half a year
    "contacts.import": LimitRule(10, 20 / DAY),  # 500 numbers a call: an address book, no census
    "api.conn": LimitRule(500, 100),  # per address: one NAT may hold a whole town
}
