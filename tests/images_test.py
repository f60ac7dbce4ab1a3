import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from rnnae.data import images
from rnnae.data.folder import SUFFIXES
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
        ("RGBA", 3, "mode RGBA .4 channels.*: convert it to RGB"),
        ("LA", 1, "mode LA .2 channels.*: convert it to grey"),
        ("I;16", 1, "mode I;16 .1 channels.*neither 8-bit grey nor 8-bit RGB"),
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


@pytest.mark.parametrize("side", [4_001, 12_000, 60_000])  # the last two are above limits of Pillow
def test_an_enormous_image_is_refused_before_a_pixel_is_decoded(side, tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(side, side))

    def load(self):
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "load", load)
    with pytest.raises(DataError, match="bomb.png is larger than 16 megapixels"):
        images.read_image(path, SHAPE)


@pytest.mark.parametrize("content", [b"", b"hello, I am text", b"<html></html>", bomb(100, 100)])
def test_a_damaged_or_other_file_is_one_clear_line(content, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a complete PNG, JPEG, WebP or BMP") as error:
        images.read_image(path, SHAPE)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


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
