"""HPACK: what `hpack` encodes is decoded whatever pieces it comes in, and the other way round."""

from itertools import pairwise

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from osm_healthcheck.wire.header_block import DecodingError, Field, HPACKDecoder, encode
from tests.io import http2_cases as h2

MAX_FIELD = 1 << 16
texts = st.binary(max_size=40) | st.sampled_from([b":status", b"200", b"date", b"x" * 300])
lists = st.lists(st.tuples(texts, texts), max_size=30)


def decode(decoder: HPACKDecoder, pieces: list[bytes]) -> list[Field]:
    found = [field for piece in pieces for field in decoder.feed(piece) if field is not None]
    decoder.finish()
    return found


@given(
    blocks=st.lists(lists, max_size=4),
    huffman=st.booleans(),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_what_hpack_encodes(blocks: list[list[Field]], huffman: bool, cuts: list[int]) -> None:
    encoder, decoder = Encoder(), HPACKDecoder(MAX_FIELD)
    for fields in blocks:
        block = encoder.encode(fields, huffman=huffman)
        ends = sorted({0, *(cut for cut in cuts if cut < len(block)), len(block)})
        assert decode(decoder, [block[start:end] for start, end in pairwise(ends)]) == fields


@given(lists)
def test_what_we_encode(fields: list[Field]) -> None:
    assert list(map(tuple, Decoder().decode(encode(fields), raw=True))) == fields


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 254, 255, 256, 16_510, 16_511])
def test_a_length_of_any_size(size: int) -> None:
    """RFC 7541 section 5.1: 127 and more go on in further bytes of seven bits."""
    fields = [(b"x", b"v" * size), (b"n" * size, b"")]
    assert list(map(tuple, Decoder().decode(encode(fields), raw=True))) == fields
    assert decode(HPACKDecoder(MAX_FIELD), [encode(fields)]) == fields


@given(st.binary(max_size=200))
def test_rubbish_is_refused_in_one_way(data: bytes) -> None:
    whole, in_bytes = HPACKDecoder(MAX_FIELD), HPACKDecoder(MAX_FIELD)
    outcomes: list[list[Field] | None] = []
    for decoder, pieces in (
        (whole, [data]),
        (in_bytes, [data[i : i + 1] for i in range(len(data))]),
    ):
        try:
            outcomes.append(decode(decoder, pieces))
        except DecodingError:
            outcomes.append(None)
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xbe",  # the first entry of an empty table
        b"\x3f\xe2\x1f",  # a table of 4,097 bytes
        b"\0" + b"\x7f" + b"\xff" * 9 + b"\x01",  # an integer past 63 bits
        b"\0\x7f\x82\xff\x03",  # a string of 65,537 bytes
        b"\0\x81\xff",  # the end of Huffman's code in less than a letter
        b"\0\x01",  # half a field
        b"\x40\x01a\x01b\x20",  # a table size in the middle
    ],
)
def test_what_go_refuses(block: bytes) -> None:
    with pytest.raises(DecodingError):
        decode(HPACKDecoder(MAX_FIELD), [block])


@pytest.mark.parametrize(
    ("block", "fields"),
    [
        (h2.block([(b"n" * 36, b"v" * 64)]), [(b"n" * 36, b"v" * 64)]),
        (h2.block([(b"n" * 36, b"v" * 65)]), None),
        (b"\x40" + h2.block([(b"n" * 101, b"")])[1:], None),
        (b"\0" + h2.length(b"n" * 20) + b"n" * 20 + h2.zeros(50), [(b"n" * 20, b"0" * 80)]),
        (b"\0" + h2.length(b"n" * 21) + b"n" * 21 + h2.zeros(50), None),
        (b"\0" + h2.zeros(65) + h2.length(b""), None),
        (b"\0" + h2.zeros(50) + h2.zeros(15), None),
    ],
    ids=["100", "101", "a name", "decoded", "too long decoded", "a name decoded", "both"],
)
def test_a_field_may_be_so_long(block: bytes, fields: list[Field] | None) -> None:
    if fields is not None:
        assert decode(HPACKDecoder(100), [block]) == fields
        return
    with pytest.raises(DecodingError):
        decode(HPACKDecoder(100), [block])


def test_a_table_holds_4_kib() -> None:
    decoder = HPACKDecoder(MAX_FIELD)
    large = b"v" * 2000

    def indexed(name: bytes) -> bytes:
        return b"\x40" + encode([(name, large)])[1:]

    assert len(decode(decoder, [indexed(b"a") + indexed(b"b") + b"\xbf"])) == 3
    with pytest.raises(DecodingError):  # the third has driven out the first
        decode(decoder, [indexed(b"c") + b"\xc0"])


def test_a_field_is_not_decoded_before_it_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field of 60 kB in single bytes would be decoded 60,000 times."""
    decodings: list[object] = []
    monkeypatch.setattr(HPACKDecoder, "_huffman", lambda _, *field: decodings.append(field))
    name = Encoder().encode([(b"~" * 1000, b"")])[1:-1]
    decoder = HPACKDecoder(MAX_FIELD)
    for piece in (b"\0", name, b"\x7f\x81\x76", *[b"x"] * 1000):
        assert list(decoder.feed(piece)) == []
    assert decodings == []
