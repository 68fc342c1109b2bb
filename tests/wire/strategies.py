"""Random messages of every type, for round trips."""

from functools import cache

from hypothesis import strategies as st
from msgspec import Raw

from messenger.wire.messages import Message
from messenger.wire.protobuf_schema import SCHEMA, Field, Kind

texts = st.text(max_size=12)
payloads = st.sampled_from([b'{"t":"x"}', b"[1,2]", b'"\xd8\xb3\xd9\x84\xd8\xa7\xd9\x85"', b"0"])
_SCALARS = {
    Kind.TEXT: texts,
    Kind.BLOB: payloads.map(Raw),
    Kind.U32: st.integers(0, 2**32 - 1),
    Kind.U64: st.integers(0, 2**63 - 1),
    Kind.I32: st.integers(-(2**31), 2**31 - 1),
    Kind.I64: st.integers(-(2**63), 2**63 - 1),
    Kind.FLAG: st.booleans(),
    Kind.TEXTS: st.dictionaries(texts, texts, max_size=2),
}


def _values(field: Field) -> st.SearchStrategy[object]:
    if field.kind is Kind.ONE:
        return message(field.of)
    if field.kind is Kind.MANY:
        return st.lists(message(field.of), min_size=1, max_size=3)
    if field.kind is Kind.MAP:
        return st.dictionaries(texts, message(field.of), min_size=1, max_size=3)
    return _SCALARS[field.kind]


@cache
def message(of: type[Message]) -> st.SearchStrategy[Message]:
    """A message of type `of` with any subset of its fields."""
    optional = {field.name: _values(field) for field in SCHEMA[of]}
    return st.fixed_dictionaries({}, optional=optional).map(lambda values: of(**values))
