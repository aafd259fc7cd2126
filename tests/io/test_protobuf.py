"""Our few lines of Protocol Buffers, beside Google's."""

import itertools

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.wrappers_pb2 import BoolValue, DoubleValue, FloatValue
from hypothesis import given
from hypothesis import strategies as st

from osm_healthcheck.wire import protobuf

TEXTS = st.text(max_size=5) | st.sampled_from(
    ["x" * 126, "x" * 127, "x" * 128, "x" * 129, "é" * 9001]
)
NUMBERS = st.integers(0, 2**63 - 1) | st.sampled_from([1, 127, 128, 2**14, 2**32])


@given(st.lists(TEXTS, max_size=4))
def test_strings_are_read(values: list[str]) -> None:
    message = FieldMask(paths=values).SerializeToString()
    assert protobuf.texts(message, 1) == values
    assert protobuf.text(message, 1) == (values[-1] if values else "")
    assert protobuf.texts(message, 2) == []


@given(NUMBERS)
def test_numbers_are_read(value: int) -> None:
    message = Duration(seconds=value, nanos=7).SerializeToString()
    assert list(protobuf.fields(message)) == [(1, value)] * bool(value) + [(2, 7)]
    assert protobuf.texts(message, 1) == []


def test_fields_of_a_fixed_size_are_passed_over() -> None:
    for fixed in (DoubleValue(value=1.5), FloatValue(value=1.5)):
        message = fixed.SerializeToString() + protobuf.text_field(2, "x")
        assert protobuf.text(message, 2) == "x"


@given(TEXTS, TEXTS)
def test_a_message_in_a_message_is_read(key: str, value: str) -> None:
    entry = protobuf.text_field(1, key) + protobuf.text_field(2, value)
    message = Any(type_url="t", value=entry).SerializeToString()
    assert protobuf.message_in(message, 2) == entry
    assert protobuf.text_map(message, 2) == ({key: value} if entry else {})


@given(TEXTS, st.booleans())
def test_what_is_written_is_read(value: str, flag: bool) -> None:
    written = FieldMask(paths=[value] if value else []).SerializeToString()
    assert protobuf.text_field(1, value) == written
    assert Any.FromString(protobuf.text_field(2, value)).value == value.encode()
    assert BoolValue.FromString(protobuf.bool_field(1, flag)).value is flag


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (b"\x0a\x02x", "field 1 ends after the message"),
        (b"\x0d\0\0\0", "field 1 ends after the message"),
        (b"\x09" + bytes(7), "field 1 ends after the message"),
        (b"\x0b", "field 1 has the unknown wire type 3"),
        (b"\x08\x80", "a number does not end"),
        (b"\x08" + b"\x80" * 10 + b"\x01", "a number does not end"),
        (b"\x0a", "a number does not end"),
    ],
)
def test_what_is_no_message_is_an_error(message: bytes, error: str) -> None:
    with pytest.raises(protobuf.MessageError) as raised:
        list(protobuf.fields(message))
    assert str(raised.value) == error


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 300]), TEXTS | NUMBERS), max_size=6),
    st.lists(st.integers(0, 20_000)),
)
def test_messages_are_cut_off_whatever_the_pieces_in_which_they_come(
    values: list[tuple[int, str | int]], cuts: list[int]
) -> None:
    message = b"".join(
        protobuf.text_field(number, value)
        if isinstance(value, str)
        else Duration(seconds=value).SerializeToString()
        for number, value in values
    )
    cutter = protobuf.Cutter(1)
    found = []
    bounds = [0, *sorted(cut for cut in cuts if cut < len(message)), len(message)]
    for start, end in itertools.pairwise(bounds):
        found += cutter.feed(message[start:end])
    assert found + cutter.finish() == protobuf.messages(message, 1)


def test_a_message_is_cut_off_as_soon_as_it_has_come() -> None:
    """So that a list that comes for minutes is not kept until its end."""
    before, one = protobuf.text_field(1, "x" * 5000), protobuf.text_field(1, "y" * 1000)
    cutter = protobuf.Cutter(1)
    assert cutter.feed(before + one[:30]) == [b"x" * 5000]
    assert cutter.feed(one[30:-1]) == []
    assert cutter.feed(one[-1:]) == [b"y" * 1000]


def test_a_message_that_ends_early_is_none() -> None:
    cutter = protobuf.Cutter(1)
    assert cutter.feed(protobuf.text_field(1, "x" * 100)[:-1]) == []
    with pytest.raises(protobuf.MessageError, match="field 1 ends after the message"):
        cutter.finish()
