"""Every Redis key, and which of them are topics too. Keys of one script share the tag in braces.

| key | type | content | life |
|---|---|---|---|
| `user:{A}` | STREAM, topic | hot window of an account, ids `0-<offset>`, field d | 1 h + 60 s |
| `user:{A}:m` | HASH | e epoch, r run8; absent = nobody is active, nothing is appended | 1 h |
| `eph:{A}`, `chat:{C}`, `dirty:{C}` | topic | updates that are not kept | - |
| `topic:{T}`, `topic:{T}:m` | STREAM, HASH | generic topics; m = e, r, o | ttl, meta ttl |
| `pres:{T}` | HASH | client -> "<lease end> <info>" | 60 s |
| `idem:{T}:<key>` | HASH | result of an HTTP publish | 5 min |
| `sess:{A}`, `revoked:{A}` | HASH | device -> session epoch and node; device -> until | 1 day |
| `watch:{A}`, `seen:{A}` | SET, STRING | who watches presence; last activity | 60 s, 35 days |
| `rl:{K}:<rule>` | HASH | token bucket: level, at | time to full |
| `reach:{C}:<seq>` | HYPERLOGLOG | who saw a post without being a subscriber | 30 days |
| `lease:{directory}` | STRING | a node walks the directory of channels | 25 s |
| `node:{nN}`, `wip:{nN}` | STRING, HASH | lease (and topic of orders); intents | 6 s |
"""

from binascii import crc_hqx

SLOTS = 16_384
_KINDS = frozenset({"user", "eph", "chat", "dirty", "sys"})


def topic_key(topic: str) -> str:
    """Stream and sharded topic of a topic: `user:71` -> `user:{71}`, else `topic:{<name>}`."""
    kind, _, rest = topic.partition(":")
    if kind in _KINDS and rest:
        return f"{kind}:{{{_tag(rest)}}}"
    if kind == "node" and rest:
        return node_key(rest)
    return f"topic:{{{_tag(topic)}}}"


def meta_key(stream_key: str) -> str:
    return f"{stream_key}:m"


def user_key(account: int) -> str:
    return f"user:{{{account}}}"


def presence_key(topic: str) -> str:
    return f"pres:{{{_tag(_topic_tag(topic))}}}"


def idempotency_key(topic: str, key: str) -> str:
    return f"idem:{{{_tag(_topic_tag(topic))}}}:{key}"


def reach_key(chat: int, seq: int) -> str:
    return f"reach:{{{chat}}}:{seq}"


def directory_key() -> str:
    """Held by the node that walks the directory of channels."""
    return "lease:{directory}"


def session_key(account: int) -> str:
    return f"sess:{{{account}}}"


def revoked_key(account: int) -> str:
    return f"revoked:{{{account}}}"


def watch_key(account: int) -> str:
    return f"watch:{{{account}}}"


def seen_key(account: int) -> str:
    return f"seen:{{{account}}}"


def limit_key(owner: str, rule: str) -> str:
    return f"rl:{{{_tag(owner)}}}:{rule}"


def node_key(node: str) -> str:
    return f"node:{{n{_tag(node)}}}"


def intent_key(node: str) -> str:
    return f"wip:{{n{_tag(node)}}}"


def slot_of(key: str | bytes) -> int:
    """The hash slot of Redis Cluster: CRC-16 (XMODEM) of the tag, or of the whole key."""
    raw = key.encode() if isinstance(key, str) else key
    start = raw.find(b"{")
    if start >= 0:
        end = raw.find(b"}", start + 1)
        if end > start + 1:
            raw = raw[start + 1 : end]
    return crc_hqx(raw, 0) % SLOTS


def _topic_tag(topic: str) -> str:
    """What `topic_key` puts in braces, so that all keys of a topic fall on one shard."""
    kind, _, rest = topic.partition(":")
    return rest if kind in _KINDS and rest else topic


def _tag(text: str) -> str:
    # A brace would end the tag early, and an empty tag would scatter the keys of one script.
    if "}" in text or "%" in text:
        return text.replace("%", "%25").replace("}", "%7D")
    return text
