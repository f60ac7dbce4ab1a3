import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from rnnae.data import images
from rnnae.data.images import ReadOptions
from rnnae.data.walk import SUFFIXES
from rnnae.errors import ConfigError, DataError

SHAPE = (16, 16, 3)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("channels", [1, 3])
def test_reads_every_format_grey_and_rgb(suffix, channels, tmp_path):
    value = np.full((20, 30, 3), (200, 100, 50))
    image = value if channels == 3 else value[..., 0]
    path = save(tmp_path / f"a{suffix.upper()}", image)
    if channels == 1 and suffix == ".webp":
        return  # WebP has no grey images
    read = images.read_image(path, (16, 16, channels))
    assert read.dtype == np.uint8 and read.shape == (16, 16, channels)
    assert np.abs(read.astype(int) - value[:16, :16, :channels]).max() <= 4


def test_an_image_of_the_right_size_is_not_changed(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    np.testing.assert_array_equal(images.read_image(save(tmp_path / "a.png", image), SHAPE), image)


@pytest.mark.parametrize("size", [(16, 48), (48, 16), (64, 192), (5, 15)])
def test_an_image_is_resized_to_cover_the_shape_and_its_centre_is_cropped(size, tmp_path):
    # Thirds of red, green, blue along the long side: the centred square is all green.
    thirds = np.zeros((*size, 3), np.uint8)
    along = thirds if size[0] > size[1] else thirds.swapaxes(0, 1)
    along[np.arange(len(along)), :, np.arange(len(along)) * 3 // len(along)] = 255
    read = images.read_image(save(tmp_path / "a.png", thirds), SHAPE)
    inner = read[4:12, 4:12]
    assert (inner[..., 1] > 240).all() and (inner[..., [0, 2]] < 15).all()


@pytest.mark.parametrize("side, to", [(29, 28), (55, 100), (58, 28), (7, 100)])
def test_rounding_gives_no_box_beyond_the_image(side, to):
    grey = images.resize_and_crop(Image.new("L", (side, side), 9), (to, to, 1), "x")
    assert grey.shape == (to, to, 1) and (grey == 9).all()


def test_exif_orientation_is_applied(tmp_path):
    image = np.zeros((16, 16, 3), np.uint8)
    image[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the stored top is the right side
    read = images.read_image(save(tmp_path / "a.png", image, exif=exif), SHAPE)
    assert (read[:, 8:] == 255).all() and (read[:, :8] == 0).all()


@pytest.mark.parametrize(
    ("mode", "channels", "words"),
    [
        ("L", 3, "has 1 channels .mode L., but --config.data.shape has 3: convert it to RGB"),
        ("RGB", 1, "has 3 channels .mode RGB., but --config.data.shape has 1: convert it to grey"),
        ("RGBA", 3, "transparent pixels: set .*--config.data.background=white, or convert .* RGB"),
        ("LA", 1, "transparent pixels: set .*--config.data.background=white, or convert .* grey"),
        ("I;16", 1, "has 16-bit grey, but images must be 8-bit .*: convert it to 8-bit grey"),
        ("I;16", 3, "has 16-bit grey, but images must be 8-bit .*: convert it to 8-bit RGB"),
    ],
)
def test_wrong_channels_are_one_clear_line(mode, channels, words, tmp_path):
    path = tmp_path / "a.png"
    Image.new(mode, (20, 20)).save(path)
    with pytest.raises(DataError, match=words) as error:
        images.read_image(path, (16, 16, channels))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def bomb(width: int, height: int) -> bytes:
    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)


@pytest.mark.parametrize("side", [14_143, 60_000])  # both are above a limit of Pillow
def test_an_enormous_image_is_refused_before_a_pixel_is_decoded(side, tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(side, side))

    def load(self):
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "load", load)
    with pytest.raises(DataError, match="bomb.png is larger than 200 megapixels .*max_megapixels"):
        images.read_image(path, SHAPE)


def test_the_limit_of_the_size_is_an_option(tmp_path):
    path = save(tmp_path / "a.png", np.zeros((100, 150, 3)))
    assert images.read_image(path, SHAPE, ReadOptions(max_megapixels=0.015)).shape == SHAPE
    with pytest.raises(DataError, match="larger than 0.0149 megapixels .150x100."):
        images.read_image(path, SHAPE, ReadOptions(max_megapixels=0.0149))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_photograph_of_24_megapixels_is_read(suffix, tmp_path, monkeypatch):
    thirds = np.zeros((4000, 6000, 3), np.uint8)
    for channel in range(3):
        thirds[:, 2000 * channel : 2000 * (channel + 1), channel] = 255
    path = save(tmp_path / f"a{suffix}", thirds)
    sizes = []
    crop = images.resize_and_crop

    def watched(image, shape, name):
        sizes.append(image.size)
        return crop(image, shape, name)

    monkeypatch.setattr(images, "resize_and_crop", watched)
    read = images.read_image(path, (16, 24, 3)).astype(int)
    expected = np.asarray(Image.fromarray(thirds).resize((24, 16), Image.Resampling.LANCZOS))
    assert np.abs(read - expected)[:, [3, 11, 19]].max() <= 4
    assert sizes == [(750, 500) if suffix == ".jpg" else (6000, 4000)]  # a JPEG is reduced


def test_pillow_keeps_its_own_limit():
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(DataError):
        images.read_image(io.BytesIO(b"no image"), SHAPE, name="x")
    assert limit == Image.MAX_IMAGE_PIXELS


def half_transparent(mode):
    """16x16: the left half is black and opaque; the right half is white and transparent."""
    image = Image.new("LA" if mode == "LA" else "RGBA", (16, 16), (255, 0) if mode == "LA" else 0)
    if mode == "LA":
        image.paste((0, 255), (0, 0, 8, 16))
        return image, {}
    rgba = np.full((16, 16, 4), (255, 255, 255, 0), np.uint8)
    rgba[:, :8] = (0, 0, 0, 255)
    if mode == "RGBA":
        return Image.fromarray(rgba), {}
    colours = Image.fromarray(rgba[..., :3])
    if mode == "RGB":  # one colour is transparent
        return colours, {"transparency": (255, 255, 255)}
    palette = colours.quantize(2)
    white = palette.getpixel((15, 0))
    return palette, {"transparency": white}


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "RGB"])
def test_transparent_pixels_have_the_background_and_not_their_hidden_colour(mode, tmp_path):
    image, options = half_transparent(mode)
    image.save(tmp_path / "a.png", **options)
    shape = (16, 16, 1 if mode == "LA" else 3)
    with pytest.raises(DataError, match="a.png has transparent pixels: set the colour behind them"):
        images.read_image(tmp_path / "a.png", shape)
    read = images.read_image(tmp_path / "a.png", shape, ReadOptions("#808080"))
    assert (read[:, :8] == 0).all() and (read[:, 8:] == 128).all()


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA"])
def test_a_transparency_that_no_pixel_has_changes_nothing(mode, tmp_path):
    image = Image.new(mode, (16, 16), {"P": 0, "RGBA": (9, 8, 7, 255), "LA": (9, 255)}[mode])
    if mode == "P":
        image.putpalette([9, 8, 7, 0, 0, 0])
    image.save(tmp_path / "a.png", **({"transparency": 1} if mode == "P" else {}))
    colour = [9] if mode == "LA" else [9, 8, 7]
    assert (images.read_image(tmp_path / "a.png", (16, 16, len(colour))) == colour).all()


@pytest.mark.parametrize("background", ["whit", "#12", "#11223344", "255"])
def test_a_background_that_is_no_colour_is_refused(background):
    with pytest.raises(ConfigError, match="--config.data.background must be a colour"):
        images.check_background(background)


@pytest.mark.parametrize("content", [b"", b"hello, I am text", b"<html></html>", bomb(100, 100)])
def test_a_damaged_or_other_file_is_one_clear_line(content, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a complete PNG, JPEG, WebP or BMP") as error:
        images.read_image(path, SHAPE)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_an_error_has_no_address_in_memory():
    with pytest.raises(DataError, match=r"^x is not .* image .it starts like no image.: replace"):
        images.read_image(io.BytesIO(b"hello, I am text"), SHAPE, name="x")


def test_a_truncated_jpeg_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    path = save(tmp_path / "a.jpg", noise)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DataError, match="truncated"):
        images.read_image(path, SHAPE)


@pytest.mark.parametrize("shape", [(0, 0, 0), (8, 8, 2), (8, 8), (8, -1, 3)])
def test_an_impossible_shape_is_refused(shape):
    with pytest.raises(ConfigError, match="--config.data.shape"):
        images.check_shape("folder", shape)


@pytest.mark.parametrize("shape", [(28, 28, 1), (5, 3, 3), (1, 1, 1)])
def test_encode_png_round_trip(shape, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    (tmp_path / "a.png").write_bytes(images.encode_png(image))
    np.testing.assert_array_equal(images.read_image(tmp_path / "a.png", shape), image)


def test_a_colour_image_of_grey_pixels_is_read_as_grey(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(grey).convert("RGB").save(tmp_path / "rgb.png")
    Image.fromarray(grey).save(tmp_path / "grey.png")
    for name in ("rgb", "grey"):
        read = images.read_grey(tmp_path / f"{name}.png", (8, 8))
        assert np.array_equal(read[..., 0], grey)
    Image.merge("RGB", [Image.fromarray(grey), *2 * [Image.fromarray(255 - grey)]]).save(
        tmp_path / "colour.png"
    )
    with pytest.raises(DataError, match="has 3 channels"):
        images.read_grey(tmp_path / "colour.png", (8, 8))
