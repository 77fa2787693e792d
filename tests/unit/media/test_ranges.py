import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpro_media.domain.ranges import MAX_RANGES, ByteRange, UnsatisfiableRangeError, requested

SIZE = 100


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", [(0, 0)]),
        ("bytes=10-19", [(10, 19)]),
        ("bytes=90-", [(90, 99)]),
        ("bytes=-10", [(90, 99)]),
        ("bytes=-500", [(0, 99)]),
        ("bytes=50-500", [(50, 99)]),
        ("BYTES=0-1", [(0, 1)]),
        ("bytes= 0-1 ,\t5-6 ", [(0, 1), (5, 6)]),
        ("bytes=,0-1,,5-6,", [(0, 1), (5, 6)]),
        ("bytes=50-59,0-9", [(50, 59), (0, 9)]),
        ("bytes=0-9,200-300", [(0, 9)]),
    ],
)
def test_what_is_well_asked_is_sent_in_the_order_asked(header: str, expected: list[tuple[int, int]]) -> None:
    assert requested(header, SIZE) == tuple(ByteRange(*pair) for pair in expected)


@pytest.mark.parametrize(
    "header",
    [
        "", "bytes", "bytes=", "bytes=-", "bytes=,", "bytes=a-b", "bytes=9-1", "bytes=1", "bytes=--1", "bytes=1-2-3",
        "pixels=0-1", "bytes=0-1;2-3", "bytes=0x1-0x2", "bytes=+1-2", "bytes=1- 2", "bytes=1-2,x", "bytes=\u0661-\u0662",
        "bytes=0-1\n", "bytes=" + "9" * 5_000 + "-",
    ],
)  # fmt: skip
def test_what_is_no_list_of_byte_ranges_is_ignored(header: str) -> None:
    assert requested(header, SIZE) == ()


@pytest.mark.parametrize("header", ["bytes=0-50,40-60", "bytes=0-,0-,0-", "bytes=-10,95-99"])
def test_ranges_that_overlap_get_the_whole_rather_than_more_than_the_whole(header: str) -> None:
    assert requested(header, SIZE) == ()


def test_more_ranges_than_anyone_needs_get_the_whole() -> None:
    asked = [f"{2 * number}-{2 * number}" for number in range(MAX_RANGES + 1)]

    assert len(requested("bytes=" + ",".join(asked[:-1]), SIZE)) == MAX_RANGES
    assert requested("bytes=" + ",".join(asked), SIZE) == ()


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=200-300,400-500"])
def test_what_lies_behind_the_end_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        requested(header, SIZE)


SPEC = st.one_of(
    st.builds("{}-{}".format, st.integers(0, 150), st.integers(0, 150)),
    st.builds("{}-".format, st.integers(0, 150)),
    st.builds("-{}".format, st.integers(0, 150)),
    st.text("0123456789-, \tx", max_size=8),
)


@given(st.lists(SPEC, max_size=12), st.integers(1, 120))
def test_whatever_is_asked_no_byte_is_sent_twice_and_none_that_does_not_exist(specs: list[str], size: int) -> None:
    whole = bytes(index % 251 for index in range(size))
    try:
        found = requested("bytes=" + ",".join(specs), size)
    except UnsatisfiableRangeError:
        return
    assert len(found) <= MAX_RANGES
    assert all(0 <= part.first <= part.last < size for part in found)
    assert sum(len(part.of(whole)) for part in found) <= size
    assert all(part.of(whole) == whole[part.first : part.last + 1] for part in found)


@given(st.text(max_size=60))
def test_any_header_is_answered_and_never_an_error(header: str) -> None:
    try:
        requested(header, SIZE)
    except UnsatisfiableRangeError:
        assert header[:6].lower() == "bytes="
