import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpro_media.domain.formats import examine
from cpro_media.domain.images import Refusal, RefusedImageError
from cpro_media.domain.structure import Format
from cpro_media.errors import REFUSALS, image_refused
from cpro_test_support.hostile_pictures.hostile_picture import SECRET, a_png, a_webp, segment, webp_chunk, with_segment
from cpro_test_support.pictures import a_logo, a_stamp, an_animation, encoded, png_chunk

GOOD = {
    "png": encoded(a_stamp(), "PNG"),
    "interlaced palette png": encoded(a_logo().quantize(16), "PNG"),
    "jpeg": encoded(a_logo(), "JPEG"),
    "progressive jpeg": encoded(a_logo(), "JPEG", progressive=True),
    "jpeg with restart markers": encoded(a_logo(), "JPEG", restart_marker_rows=1),
    "jpeg with a comment that looks like its end": encoded(a_logo(), "JPEG", comment=b"\xff\xd9"),
    "lossy webp": encoded(a_logo(), "WEBP"),
    "lossless webp with alpha": encoded(a_stamp(), "WEBP", lossless=True),
}


def refusal_of(data: bytes) -> Refusal | None:
    try:
        examine(data)
    except RefusedImageError as refused:
        return refused.refusal
    return None


@pytest.mark.parametrize("name", GOOD)
def test_a_still_picture_is_known_by_its_bytes(name: str) -> None:
    expected = next(form for form in Format if form.value.lower() in name)

    assert examine(GOOD[name]).format is expected


@pytest.mark.parametrize("name", GOOD)
def test_a_picture_with_something_after_its_end_is_refused(name: str) -> None:
    for appended in (b"PK\x03\x04 a zip", b"<script>alert(1)</script>", b"%PDF-1.7", GOOD["jpeg"]):
        assert refusal_of(GOOD[name] + appended) is Refusal.TRAILING_DATA


def test_zero_padding_is_not_taken_for_something_else() -> None:
    assert refusal_of(GOOD["jpeg"] + b"\x00" * 512) is None


@pytest.mark.parametrize("name", GOOD)
def test_a_picture_that_breaks_off_is_refused_wherever_it_does(name: str) -> None:
    data = GOOD[name]
    for end in range(1, len(data)):
        assert refusal_of(data[:end]) in {Refusal.DAMAGED, *([Refusal.TYPE_NOT_ACCEPTED] if end < 12 else [])}


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>",
        b"<?xml version='1.0'?><svg/>",
        b"%PDF-1.7",
        b"\x00\x00\x00\x20ftypheic",
        b"BM......",
        b"<html>",
        b"RIFF\x04\x00\x00\x00WAVE",
        b"\x89PNG",
        encoded(a_logo().quantize(16), "GIF"),
        encoded(a_logo(), "TIFF"),
    ],
)
def test_another_type_is_refused_as_such(data: bytes) -> None:
    assert refusal_of(data) is Refusal.TYPE_NOT_ACCEPTED


def test_animations_are_refused() -> None:
    assert refusal_of(an_animation("PNG")) is Refusal.ANIMATED
    assert refusal_of(an_animation("WEBP")) is Refusal.ANIMATED


def test_an_empty_file_is_refused() -> None:
    assert refusal_of(b"") is Refusal.EMPTY


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_no_damage_makes_the_walk_fail_otherwise_than_by_a_refusal(name: str, data: st.DataObject) -> None:
    damaged = bytearray(GOOD[name])
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))

    refusal_of(bytes(damaged))  # a refusal or none: nothing else comes out


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x50\0\0\0WEBP"]))
def test_no_bytes_make_the_walk_fail_otherwise_than_by_a_refusal(data: bytes, start: bytes) -> None:
    assert refusal_of(start + data) is not None


@given(st.binary(max_size=400))
def test_what_follows_a_picture_is_never_let_through_unless_it_is_zeros(appended: bytes) -> None:
    for data in GOOD.values():
        assert refusal_of(data + appended) is (Refusal.TRAILING_DATA if appended.strip(b"\0") else None)


def test_the_decoder_never_sees_what_is_not_needed_to_draw_the_picture() -> None:
    for data in (
        a_png(png_chunk(b"tEXt", SECRET), after_rows=png_chunk(b"prVt", SECRET)),
        with_segment(GOOD["jpeg"], segment(0xFE, SECRET), segment(0xED, SECRET), segment(0xE1, b"http:" + SECRET)),
        a_webp(GOOD["lossy webp"][12:], webp_chunk(b"XMP ", SECRET)),
    ):
        assert SECRET in data
        assert SECRET not in examine(data).essence


def test_a_run_of_fill_bytes_does_not_take_time_by_its_square() -> None:
    data = GOOD["jpeg"]
    coded = data.index(b"\xff\xda") + 20

    examine(data[:coded] + b"\xff" * 1_000_000 + b"\0" + data[coded:])  # by its square: a quarter of an hour


def test_each_refusal_has_its_words_in_both_languages() -> None:
    for refusal in Refusal:
        problem = image_refused(refusal)
        assert REFUSALS[refusal].code == refusal.value
        assert problem.detail_fr
        assert problem.detail_en != problem.detail_fr
