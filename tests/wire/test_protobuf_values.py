import pytest
from google.protobuf.message import Message as Generated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from messenger.wire import messages as m
from messenger.wire.bad_frame import BadFrame
from messenger.wire.protobuf_schema import SCHEMA, Kind
from messenger.wire.protobuf_values import decode, encode, read_varint, varint
from tests.wire.client_proto import classes
from tests.wire.strategies import message

REFERENCE = classes()
quick = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
any_message = st.sampled_from(sorted(SCHEMA, key=lambda type_: type_.__name__)).flatmap(message)


def reference(of: type[m.Message]) -> type[Generated]:
    return REFERENCE[of.__name__.replace("Rpc", "RPC")]


def fill(target: Generated, source: m.Message) -> Generated:
    """Set the fields of a generated message one by one, by name."""
    target.SetInParent()
    for field in SCHEMA[type(source)]:
        value = getattr(source, field.name)
        if not value or field.name == "tf":
            continue
        if field.kind is Kind.ONE:
            fill(getattr(target, field.name), value)
        elif field.kind is Kind.MANY:
            for item in value:
                fill(getattr(target, field.name).add(), item)
        elif field.kind is Kind.MAP:
            for key, item in value.items():
                fill(getattr(target, field.name)[key], item)
        elif field.kind is Kind.TEXTS:
            getattr(target, field.name).update(value)
        else:
            setattr(target, field.name, bytes(value) if field.kind is Kind.BLOB else value)
    return target


def without_filter(message: m.Message) -> m.Message:
    """`tf` is raw bytes to us and a message in the schema, so it has no common random value."""
    if isinstance(message, m.SubscribeRequest):
        return m.SubscribeRequest(
            **{name: getattr(message, name) for name in message.__struct_fields__ if name != "tf"}
        )
    changed = {}
    for field in SCHEMA[type(message)]:
        value = getattr(message, field.name)
        if field.kind is Kind.ONE and value is not None:
            value = without_filter(value)
        elif field.kind is Kind.MAP:
            value = {key: without_filter(item) for key, item in value.items()}
        changed[field.name] = value
    return type(message)(**changed)


def same(left: object, right: object) -> bool:
    """Equality by content; msgspec compares raw fields by identity."""
    if isinstance(left, m.Message):
        return type(left) is type(right) and all(
            same(getattr(left, name), getattr(right, name)) for name in left.__struct_fields__
        )
    if isinstance(left, Raw):
        return isinstance(right, Raw) and bytes(left) == bytes(right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return left == right


def test_given_our_table_when_compared_with_the_schema_then_every_number_and_type_agrees() -> None:
    for of, fields in SCHEMA.items():
        published = reference(of).DESCRIPTOR.fields_by_name
        for field in fields:
            assert published[field.name].number == field.number, (of, field)


@quick
@given(any_message)
def test_given_any_message_when_generated_classes_read_ours_then_nothing_changes(
    ours: m.Message,
) -> None:
    ours = without_filter(ours)

    theirs = reference(type(ours)).FromString(encode(ours))

    assert theirs == fill(reference(type(ours))(), ours)


@quick
@given(any_message)
def test_given_any_message_when_we_read_generated_bytes_then_nothing_changes(
    ours: m.Message,
) -> None:
    ours = without_filter(ours)
    theirs = fill(reference(type(ours))(), ours).SerializeToString()

    again = decode(type(ours), theirs, 0, len(theirs))

    assert same(again, ours)


@quick
@given(any_message)
def test_given_any_message_when_encoded_and_decoded_then_it_is_the_same(ours: m.Message) -> None:
    data = encode(ours)

    assert same(decode(type(ours), data, 0, len(data)), ours)


@quick
@given(any_message, st.data())
def test_given_a_message_that_is_cut_when_decoded_then_only_a_bad_frame_can_come_out(
    ours: m.Message, draw: st.DataObject
) -> None:
    data = encode(ours)
    cut = data[: draw.draw(st.integers(0, len(data)))]

    try:
        decoded = decode(type(ours), cut, 0, len(cut))
    except BadFrame:
        return
    assert type(decoded) is type(ours)


@quick
@given(st.sampled_from(list(SCHEMA)), st.binary(max_size=60))
def test_given_noise_when_decoded_then_only_a_bad_frame_can_come_out(
    of: type[m.Message], noise: bytes
) -> None:
    try:
        decoded = decode(of, noise, 0, len(noise))
    except BadFrame:
        return
    assert type(decoded) is of


@quick
@given(st.integers(0, 2**64 - 1))
def test_given_a_number_when_written_as_varint_then_it_reads_back(number: int) -> None:
    data = varint(number)

    assert read_varint(data, 0, len(data)) == (number, len(data))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x08", "a key without its number"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "a varint of eleven bytes"),
        (b"\x22\x05ab", "a block longer than the message"),
        (b"\x22\x02\x0a\x05", "a block longer than its block"),
        (b"\x0b", "a group"),
        (b"\x7b\x7c", "an unknown group"),
        (b"\xfd\x01\x00", "an unknown fixed32 that is cut off"),
        (b"\xf9\x01\x00", "an unknown fixed64 that is cut off"),
        (b"\xfa\x01\x05", "an unknown block that is cut off"),
        (b"\xf8\x01", "an unknown varint that is cut off"),
        (b"\x22\x03\x0a\x01\xff", "text that is not UTF-8"),
        (b"\x22\x06\x1a\x04\x0a\x01\xff\x00", "a map key that is not UTF-8"),
        (b"\x2a\x0b\x38" + b"\xff" * 9 + b"\x01", "an offset of 64 bits"),
    ],
)
def test_given_bytes_that_break_the_encoding_when_decoded_then_the_frame_is_bad(
    data: bytes, why: str
) -> None:
    with pytest.raises(BadFrame):
        decode(m.Command, data, 0, len(data))


def test_given_unknown_fields_of_every_wire_type_when_decoded_then_they_are_skipped() -> None:
    unknown = b"\xf8\x01\x05" + b"\xf9\x01" + bytes(8) + b"\xfa\x01\x02ab" + b"\xfd\x01" + bytes(4)
    data = unknown + b"\x08\x07" + unknown

    assert same(decode(m.Command, data, 0, len(data)), m.Command(id=7))


def test_given_a_known_number_with_another_wire_type_when_decoded_then_it_is_unknown() -> None:
    data = b"\x0a\x01a" + b"\x20\x01"  # id as bytes, connect as varint

    assert same(decode(m.Command, data, 0, len(data)), m.Command())


def test_given_map_entries_with_parts_left_out_when_decoded_then_zero_values_stand_in() -> None:
    entry_without_value = b"\x1a\x03\x0a\x01a"
    entry_without_key = b"\x1a\x04\x12\x02\x18\x01"
    entry_with_unknown_field = b"\x1a\x05\x18\x07\x0a\x01b"
    header_without_value = b"\x32\x03\x0a\x01h"
    data = entry_without_value + entry_without_key + entry_with_unknown_field + header_without_value

    request = decode(m.ConnectRequest, data, 0, len(data))

    assert request.headers == {"h": ""}
    assert request.subs.keys() == {"a", "", "b"}
    assert request.subs[""].recover is True


def test_given_an_empty_blob_when_decoded_then_it_counts_as_absent() -> None:
    data = b"\x0a\x00"

    assert decode(m.RpcRequest, data, 0, len(data)).data is m.NOTHING
