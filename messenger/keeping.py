"""How statements are written and how long rows are kept: a part of `Settings`."""

from typing import Annotated, Literal

from msgspec import Struct

from messenger.reasons import Positive, why


class StoreSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ages are days: what goes is gone for every device, so nothing goes within hours."""

    rendering: Annotated[
        Literal["many", "one"],
        why(
            "many: a statement takes arrays of chats or accounts, the fastest on one PostgreSQL; "
            "one: a call a chat or account, all that a shard of Citus answers by itself"
        ),
    ] = "many"
    keep_event_days: Annotated[
        int, why("of chat events; a device away for longer starts anew: sync.difference says", ge=1)
    ] = 90
    keep_events: Annotated[
        int, why("newest events a chat: a difference longer than this helps nobody", ge=1)
    ] = 100_000
    keep_fact_days: Annotated[
        int, why("of account events; a device away for longer reads its account anew", ge=1)
    ] = 30
    keep_facts: Annotated[
        int, why("newest account events: more are slower to read than the whole state", ge=1)
    ] = 1_000
    keep_index_days: Annotated[
        int, why("of the search index, the largest part of a day after the messages", ge=1)
    ] = 30
    keep_message_days: Annotated[
        int, why("0 = for ever: nobody's words go because nothing was said", ge=0)
    ] = 0
    keep_request_days: Annotated[
        int, why("an asked-for seat; and an outbox row that no version has taken up", ge=1)
    ] = 30
    purge_rows: Annotated[
        int, why("rows a purge's transaction: a chat is locked for ~10 ms", ge=1, le=10_000)
    ] = 500
    purge_pause: Annotated[
        float,
        why(
            "between two steps: a walk is in no hurry; one over 360 M chats takes a day or two",
            ge=0,
        ),
    ] = 0.1
    purge_every: Annotated[
        Positive[float], why("between two rounds; ages are days, a quarter of one is nothing")
    ] = 21_600.0
