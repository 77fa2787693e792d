import asyncio
import os
import time
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from cpro_media.adapters.decoder import SubprocessDecoder
from cpro_media.config import DecoderSettings
from cpro_media.domain.images import STORED_SIDE_PIXELS, Refusal, RefusedImageError
from cpro_test_support.hostile_pictures.hostile_picture import a_png, header, rows_of
from cpro_test_support.pictures import a_logo, a_png_that_claims, a_stamp, decoded, encoded, png_chunk

ORIENTATION, DESCRIPTION = 0x0112, 0x010E


@pytest.fixture
def decoder() -> SubprocessDecoder:
    return SubprocessDecoder(DecoderSettings())


def decoding_processes() -> list[int]:
    """The children of this process that decode, dead ones that nobody waited for included."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
    return [pid for pid, command in commands.items() if b"cpro_test_support.sleeping" in command or not command]


async def refusal_of(decoder: SubprocessDecoder, data: bytes) -> Refusal:
    with pytest.raises(RefusedImageError) as refused:
        await decoder.decode(data)
    return refused.value.refusal


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
async def test_the_transparency_of_a_stamp_is_kept(decoder: SubprocessDecoder, form: str) -> None:
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}

    rendition = await decoder.decode(encoded(a_stamp(), form, **options))

    stored = decoded(rendition.image.data)
    assert (rendition.image.content_type, stored.mode, stored.size) == ("image/png", "RGBA", (240, 240))
    assert stored.tobytes() == a_stamp().tobytes()
    assert decoded(rendition.thumbnail.data).getpixel((1, 1)) == (0, 0, 0, 0)


async def test_a_palette_with_a_transparent_colour_stays_transparent(decoder: SubprocessDecoder) -> None:
    image = a_logo().quantize(16)
    field = image.getpixel((300, 190))

    rendition = await decoder.decode(encoded(image, "PNG", transparency=field))

    assert decoded(rendition.image.data).getpixel((300, 190))[3] == 0  # type: ignore[index]


async def test_a_photograph_is_turned_upright_and_tells_nothing_of_the_camera(decoder: SubprocessDecoder) -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[DESCRIPTION] = 6, "taken by the secretary"
    sideways = a_logo().transpose(Image.Transpose.ROTATE_90)
    data = encoded(sideways, "JPEG", exif=exif, comment=b"secret comment", quality=95)

    rendition = await decoder.decode(data)

    stored = decoded(rendition.image.data)
    assert (rendition.image.content_type, stored.size) == ("image/jpeg", (320, 200))
    assert min(stored.getpixel((70, 45))) > 200  # type: ignore[arg-type]  # the disc is upper left again
    for written in (rendition.image.data, rendition.thumbnail.data):
        assert b"secret" not in written
        assert b"Exif" not in written


async def test_texts_and_profiles_of_a_png_are_gone(decoder: SubprocessDecoder) -> None:
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    notes.add_text("Author", "secret author")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    rendition = await decoder.decode(encoded(a_logo(), "PNG", pnginfo=notes, icc_profile=profile, dpi=(300, 300)))

    assert decoded(rendition.image.data).info == {}
    assert b"secret" not in rendition.image.data


async def test_sixteen_bits_and_cmyk_become_ordinary_colours(decoder: SubprocessDecoder) -> None:
    grey = decoded((await decoder.decode(encoded(Image.new("I;16", (40, 40), 32_768), "PNG"))).image.data)
    cmyk = decoded((await decoder.decode(encoded(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "JPEG"))).image.data)

    assert grey.getpixel((9, 9)) == (127, 127, 127)
    red, green, blue = cmyk.getpixel((9, 9))  # type: ignore[misc]
    assert red > 200
    assert max(green, blue) < 100


async def test_a_large_picture_is_scaled_down_and_gets_a_thumbnail(decoder: SubprocessDecoder) -> None:
    rendition = await decoder.decode(encoded(a_logo(5_000, 2_500), "PNG"))

    assert (rendition.image.width, rendition.image.height) == (STORED_SIDE_PIXELS, STORED_SIDE_PIXELS // 2)
    assert (rendition.thumbnail.width, rendition.thumbnail.height) == (256, 128)
    assert min(decoded(rendition.image.data).getpixel((460, 230))) > 250  # type: ignore[arg-type]


async def test_the_same_file_always_gives_the_same_bytes(decoder: SubprocessDecoder) -> None:
    data = encoded(a_stamp(), "PNG")

    assert await decoder.decode(data) == await decoder.decode(data)


async def test_a_picture_that_claims_too_many_pixels_is_refused_without_decoding(decoder: SubprocessDecoder) -> None:
    assert await refusal_of(decoder, a_png_that_claims(60_000, 60_000)) is Refusal.TOO_MANY_PIXELS


async def test_a_picture_with_less_in_it_than_it_claims_is_damaged(decoder: SubprocessDecoder) -> None:
    assert await refusal_of(decoder, a_png_that_claims(500, 500)) is Refusal.DAMAGED


async def test_bytes_that_only_look_like_a_picture_are_damaged(decoder: SubprocessDecoder) -> None:
    data = bytearray(encoded(a_logo(), "PNG"))
    start = data.index(b"IDAT") + 6
    data[start : start + 200] = os.urandom(200)

    assert await refusal_of(decoder, bytes(data)) is Refusal.DAMAGED


async def test_a_decoder_past_its_memory_is_refused_not_waited_for() -> None:
    tight = SubprocessDecoder(DecoderSettings(memory_bytes=130 * 1024 * 1024))

    assert await refusal_of(tight, encoded(Image.new("RGB", (6_000, 6_000)), "PNG")) is Refusal.TOO_DEMANDING


async def test_a_decoder_past_its_time_is_killed_while_the_service_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpro_media.adapters.decoder._MODULE", "cpro_test_support.sleeping")
    decoder = SubprocessDecoder(DecoderSettings(timeout_seconds=1))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    going_on = asyncio.create_task(others())
    started = time.monotonic()
    refusal = await refusal_of(decoder, encoded(a_logo(), "PNG"))
    going_on.cancel()

    assert refusal is Refusal.TOO_DEMANDING
    assert time.monotonic() - started < 3
    assert turns > 20


async def test_a_cancelled_request_leaves_no_decoder_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpro_media.adapters.decoder._MODULE", "cpro_test_support.sleeping")
    decoder = SubprocessDecoder(DecoderSettings(timeout_seconds=60, max_processes=1))
    waiting = asyncio.create_task(decoder.decode(encoded(a_logo(), "PNG")))
    async with asyncio.timeout(10):
        while not decoding_processes():
            await asyncio.sleep(0.01)

    waiting.cancel()
    await asyncio.wait({waiting})

    assert not decoding_processes()
    monkeypatch.undo()
    async with asyncio.timeout(10):
        assert await decoder.decode(encoded(a_logo(), "PNG"))


def a_profile_with_red_and_green_exchanged() -> bytes:
    """sRGB, but for which number is which colour: who follows it can't be mistaken for who does not."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"swap").replace(b"gXYZ", b"rXYZ").replace(b"swap", b"gXYZ")


@pytest.mark.parametrize(
    ("form", "image"),
    [
        ("PNG", Image.new("RGB", (30, 30), (230, 20, 20))),
        ("PNG", Image.new("RGBA", (30, 30), (230, 20, 20, 128))),
        ("PNG", Image.new("RGB", (30, 30), (230, 20, 20)).quantize(4)),
        ("PNG", Image.new("RGB", (4_100, 30), (230, 20, 20))),
        ("JPEG", Image.new("RGB", (30, 30), (230, 20, 20))),
        ("WEBP", Image.new("RGBA", (30, 30), (230, 20, 20, 128))),
    ],
    ids=["png", "transparent png", "palette", "large png", "jpeg", "transparent webp"],
)
async def test_an_embedded_profile_is_followed(decoder: SubprocessDecoder, form: str, image: Image.Image) -> None:
    profile = a_profile_with_red_and_green_exchanged()

    rendition = await decoder.decode(encoded(image, form, icc_profile=profile))

    stored = decoded(rendition.image.data)
    red, green, blue, *alpha = stored.getpixel((9, 9))  # type: ignore[misc]
    assert (red < 60, green > 200, blue < 60) == (True, True, True)
    assert alpha == ([128] if image.mode == "RGBA" else [])


async def test_the_transparent_colour_of_a_picture_of_sixteen_bits_is_transparent(decoder: SubprocessDecoder) -> None:
    for colour, bits, transparent in ((0, 16, b"\x55\x55"), (2, 48, b"\x55" * 6)):
        data = a_png(
            png_chunk(b"tRNS", transparent),
            head=header(16, 16, depth=16, colour=colour),
            rows=rows_of(16, 16, bits=bits),
        )

        stored = decoded((await decoder.decode(data)).image.data)

        assert stored.getpixel((9, 9))[3] == 0  # type: ignore[index]
