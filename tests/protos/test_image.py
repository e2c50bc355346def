"""An image is decoded the same everywhere, or refused with one line."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from protos import image
from protos.artifact import ImageInput
from protos.image import ImageError

SPEC = ImageInput(size=8)
LEFT, MIDDLE, RIGHT = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def picture(format_: str = "PNG", mode: str = "RGB") -> bytes:
    """48 x 16 pixels: a red, a green and a blue square side by side."""
    pixels = np.concatenate([np.full((16, 16, 3), colour, np.uint8) for colour in (LEFT, MIDDLE, RIGHT)], 1)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, format_)
    return buffer.getvalue()


def test_the_centre_square_is_taken_and_resized() -> None:
    pixels = image.decode(picture(), SPEC)
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8
    assert (pixels[:, 2:6] == MIDDLE).all()  # nearer the edge the filter sees the neighbours


def test_crop_is_a_share_of_the_shorter_side() -> None:
    frame = np.zeros((16, 16, 3), np.uint8)
    frame[4:12, 4:12] = 255
    assert image.decode(image.encode(frame), ImageInput(size=8, crop=0.5)).min() == 255


def test_png_pixels_come_back_as_they_were() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    assert np.array_equal(image.decode(image.encode(pixels), SPEC), pixels)


def test_a_jpeg_comes_back_nearly_as_it_was() -> None:
    assert np.abs(image.decode(picture("JPEG"), SPEC)[:, 2:6].astype(int) - MIDDLE).max() < 16


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_other_colour_modes_become_rgb(mode: str) -> None:
    format_ = "JPEG" if mode == "CMYK" else "PNG"
    assert image.decode(picture(format_, mode), SPEC).shape == (8, 8, 3)


def noise() -> bytes:
    """A JPEG of several kilobytes."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def bomb(width: int) -> bytes:
    """A well-formed PNG of ``width`` x 10 000 pixels, in a few kilobytes."""
    buffer = io.BytesIO()
    Image.new("1", (width, 10_000)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: b"", "neither a JPEG nor a PNG image"),
        (lambda: b"not an image", "neither a JPEG nor a PNG image"),
        (lambda: picture("GIF"), "neither a JPEG nor a PNG image"),
        (lambda: picture()[:-30], "image cannot be decoded: .*truncated"),
        (lambda: noise()[:-900], "image cannot be decoded: .*truncated"),
        (lambda: picture("JPEG")[:400], "image cannot be decoded: Truncated File Read"),
        (lambda: bomb(6_000), "image cannot be decoded: 6000 x 10000 pixels are too many"),
        (lambda: bomb(20_000), "image cannot be decoded: Image size .* exceeds limit"),
    ],
    ids=["empty", "text", "GIF", "truncated PNG", "truncated JPEG", "JPEG header", "bomb", "large bomb"],
)
def test_what_is_no_image_is_refused(make: Callable[[], bytes], problem: str) -> None:
    with pytest.raises(ImageError, match=f"^{problem}"):
        image.decode(make(), SPEC)


@given(st.data())
def test_a_damaged_image_is_decoded_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from([picture(), picture("JPEG"), picture(mode="P")])))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert image.decode(bytes(damaged), SPEC).shape == (8, 8, 3)
    except ImageError as error:
        assert str(error)  # noqa: PT017 - either of the two is right


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8)]
)
def test_only_rgb_bytes_are_encoded(pixels: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"^an image is uint8 \(height, width, 3\), not "):
        image.encode(pixels)
