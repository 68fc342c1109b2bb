"""Keys: one tag per owner, so that a script finds all of its keys on one shard."""

import pytest

from messenger.bus import keys


def test_given_an_account_when_its_keys_are_built_then_all_share_a_slot() -> None:
    built = [
        keys.user_key(71),
        keys.meta_key(keys.user_key(71)),
        keys.topic_key("eph:71"),
        keys.session_key(71),
        keys.revoked_key(71),
        keys.watch_key(71),
        keys.seen_key(71),
        keys.limit_key("71", "chat.create"),
    ]
    assert len({keys.slot_of(key) for key in built}) == 1
    assert len(set(built)) == len(built)


@pytest.mark.parametrize(
    "topic", ["room:1", "news", "user:mina", "room:a}b{c", "user:}", "}{", "%"]
)
def test_given_a_generic_topic_when_its_keys_are_built_then_all_share_a_slot(topic: str) -> None:
    key = keys.topic_key(topic)
    built = {key, keys.meta_key(key), keys.presence_key(topic), keys.idempotency_key(topic, "}k{")}
    assert len({keys.slot_of(one) for one in built}) == 1
    assert len(built) == 4


@pytest.mark.parametrize(
    ("topic", "key"),
    [
        ("user:71", "user:{71}"),
        ("eph:71", "eph:{71}"),
        ("chat:90", "chat:{90}"),
        ("dirty:90", "dirty:{90}"),
        ("sys:badges", "sys:{badges}"),
        ("node:3", "node:{n3}"),
        ("room:1", "topic:{room:1}"),
        ("user:", "topic:{user:}"),
        ("$room:1", "topic:{$room:1}"),
    ],
)
def test_given_a_topic_when_made_a_key_then_it_has_the_name_of_the_table(
    topic: str, key: str
) -> None:
    assert keys.topic_key(topic) == key


def test_given_a_node_when_its_keys_are_built_then_lease_and_intents_share_a_slot() -> None:
    assert keys.intent_key("3") == "wip:{n3}"
    assert keys.slot_of(keys.node_key("3")) == keys.slot_of(keys.intent_key("3"))
