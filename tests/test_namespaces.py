"""Every row of the table that says who may subscribe, publish, and read presence and history."""

import pytest

from messenger.namespaces import Namespaces, Standing, SubscribeBy
from messenger.sections import product_namespaces
from messenger.settings import NamespaceOptions, TopicsSection
from messenger.wire.codes import ErrorCode

NO, OFF = ErrorCode.PERMISSION_DENIED, ErrorCode.NOT_AVAILABLE
PLAIN = NamespaceOptions()
OPEN = NamespaceOptions(
    history_size=10,
    history_ttl_s=60,
    presence=True,
    allow_subscribe_for_client=True,
    allow_user_limited_channels=True,
)
PRODUCT = product_namespaces(300, 3_600)
SPACES = Namespaces(TopicsSection(default=PLAIN, ns={"room": OPEN, **PRODUCT}))
CLIENT = SubscribeBy(Standing.CLIENT)
NOBODY = SubscribeBy(Standing.ANONYMOUS)
TOKEN = SubscribeBy(Standing.CLIENT, token=True)
MINA = SubscribeBy(Standing.CLIENT, account="71")


@pytest.mark.parametrize(
    ("topic", "options"),
    [
        ("room:1", OPEN),
        ("room:1:2", OPEN),
        ("$room:1", OPEN),
        ("news", PLAIN),
        ("$news", PLAIN),
        ("other:1", None),
        (":1", None),
        ("user:71", PRODUCT["user"]),
    ],
)
def test_given_a_topic_when_looked_up_then_the_text_before_the_colon_decides(
    topic: str, options: NamespaceOptions | None
) -> None:
    assert SPACES.of(topic) is options


def test_given_no_default_when_a_topic_has_no_colon_then_it_is_unknown() -> None:
    assert Namespaces(TopicsSection()).of("news") is None


@pytest.mark.parametrize(
    ("row", "topic", "user", "by", "verdict"),
    [
        ("1 private without token", "$room:1", "71", CLIENT, NO),
        ("1 private without token, account", "$room:1", "71", MINA, NO),
        ("2 token", "$room:1", "71", TOKEN, None),
        ("2 token beats the user list", "room:1#42", "71", TOKEN, None),
        ("2 token in a closed namespace", "news", "71", TOKEN, None),
        ("3 listed", "room:1#42,71", "71", CLIENT, None),
        ("3 not listed", "room:1#42,43", "71", CLIENT, NO),
        ("3 part of a listed name", "room:1#711", "71", CLIENT, NO),
        ("3 anonymous is never listed", "room:1#", "", NOBODY, NO),
        ("3 option off: an ordinary name", "news#42", "71", CLIENT, NO),
        ("4 own account", "user:71", "71", MINA, None),
        ("4 own account, ephemeral", "eph:71", "71", MINA, None),
        ("4 another account", "user:72", "71", MINA, NO),
        ("4 another account, ephemeral", "eph:72", "71", MINA, NO),
        ("4 own name, foreign token", "user:71", "71", CLIENT, NO),
        ("4 own name, subscription token", "user:71", "71", TOKEN, NO),
        ("4 chat of a product session", "chat:5", "71", MINA, None),
        ("4 chat of a foreign session", "chat:5", "71", CLIENT, NO),
        ("4 chat, not an id", "chat:x", "71", MINA, NO),
        ("4 chat, no id", "chat:", "71", MINA, NO),
        ("4 chat, another spelling of an id", "chat:05", "71", MINA, NO),
        ("4 chat, other digits", "chat:٥", "71", MINA, NO),
        ("5 allowed for clients", "room:1", "71", CLIENT, None),
        ("5 not for anonymous", "room:1", "", NOBODY, NO),
        ("7 otherwise no", "news", "71", CLIENT, NO),
    ],
)
def test_given_a_row_of_the_table_when_subscribing_then_its_verdict_holds(
    row: str, topic: str, user: str, by: SubscribeBy, verdict: ErrorCode | None
) -> None:
    options = SPACES.of(topic)
    assert options is not None
    found = SPACES.may_subscribe(topic, options, user=user, by=by, insecure=False)
    assert found == verdict, row


@pytest.mark.parametrize(
    ("row", "topic", "by", "verdict"),
    [
        ("6 insecure opens ordinary topics", "news", NOBODY, None),
        ("6 insecure opens what is for clients", "room:1", NOBODY, None),
        ("6 private stays private", "$room:1", NOBODY, NO),
        ("6 user-limited stays limited", "room:1#42", NOBODY, NO),
        ("6 product stays product", "user:71", NOBODY, NO),
        ("6 chats stay chats", "chat:5", NOBODY, NO),
    ],
)
def test_given_the_insecure_profile_when_subscribing_then_only_plain_topics_open(
    row: str, topic: str, by: SubscribeBy, verdict: ErrorCode | None
) -> None:
    options = SPACES.of(topic)
    assert options is not None
    found = SPACES.may_subscribe(topic, options, user="", by=by, insecure=True)
    assert found == verdict, row


def test_given_anonymous_access_when_subscribing_then_nobody_needs_a_user() -> None:
    options = NamespaceOptions(allow_subscribe_for_anonymous=True)
    assert SPACES.may_subscribe("a", options, user="", by=NOBODY, insecure=False) is None
    assert SPACES.may_subscribe("a", options, user="71", by=CLIENT, insecure=False) == NO


STANDINGS = [
    (Standing.SUBSCRIBER, {"subscriber", "client"}),
    (Standing.ANONYMOUS_SUBSCRIBER, {"subscriber", "anonymous"}),
    (Standing.CLIENT, {"client"}),
    (Standing.ANONYMOUS, {"anonymous"}),
]
FEATURES = {"history_size": 10, "history_ttl_s": 60, "presence": True}


@pytest.mark.parametrize("verb", ["publish", "presence", "history"])
@pytest.mark.parametrize(("standing", "granting"), STANDINGS)
@pytest.mark.parametrize("given_to", ["subscriber", "client", "anonymous"])
def test_given_one_right_when_a_session_of_some_standing_asks_then_the_right_decides(
    verb: str, standing: Standing, granting: set[str], given_to: str
) -> None:
    options = NamespaceOptions(**FEATURES, **{f"allow_{verb}_for_{given_to}": True})
    may = getattr(SPACES, f"may_{verb}")

    verdict = may(options, standing=standing, insecure=False)

    assert verdict == (None if given_to in granting else NO)
    assert may(NamespaceOptions(**FEATURES), standing=standing, insecure=False) == NO
    assert may(NamespaceOptions(**FEATURES), standing=standing, insecure=True) is None


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("presence", NamespaceOptions(allow_presence_for_client=True)),
        ("history", NamespaceOptions(allow_history_for_client=True)),
        ("history", NamespaceOptions(allow_history_for_client=True, history_size=5)),
    ],
)
def test_given_a_feature_that_is_off_when_asked_then_it_is_not_available(
    verb: str, options: NamespaceOptions
) -> None:
    may = getattr(SPACES, f"may_{verb}")
    assert may(options, standing=Standing.CLIENT, insecure=False) == OFF
    assert may(options, standing=Standing.CLIENT, insecure=True) == OFF


@pytest.mark.parametrize("name", ["user", "eph", "chat"])
@pytest.mark.parametrize("verb", ["publish", "presence", "history"])
def test_given_a_product_topic_when_a_client_asks_then_it_is_refused_always(
    name: str, verb: str
) -> None:
    may = getattr(SPACES, f"may_{verb}")
    assert may(PRODUCT[name], standing=Standing.SUBSCRIBER, insecure=True) == NO


@pytest.mark.parametrize(
    ("user", "subscribed", "standing"),
    [
        ("71", True, Standing.SUBSCRIBER),
        ("", True, Standing.ANONYMOUS_SUBSCRIBER),
        ("71", False, Standing.CLIENT),
        ("", False, Standing.ANONYMOUS),
    ],
)
def test_given_user_and_subscription_when_asked_then_the_standing_follows(
    user: str, *, subscribed: bool, standing: Standing
) -> None:
    assert Standing.of(user, subscribed=subscribed) is standing
