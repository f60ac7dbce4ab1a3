import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from rnnae.data import folder
from rnnae.errors import ConfigError, DataError

SHAPE = (16, 16, 3)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", folder.SUFFIXES)
@pytest.mark.parametrize("channels", [1, 3])
def test_reads_every_format_grey_and_rgb(suffix, channels, tmp_path):
    value = np.full((20, 30, 3), (200, 100, 50))
    image = value if channels == 3 else value[..., 0]
    path = save(tmp_path / f"a{suffix.upper()}", image)
    if channels == 1 and suffix == ".webp":
        return  # WebP has no grey
    read = folder.read(path, (16, 16, channels))
    assert read.dtype == np.uint8 and read.shape == (16, 16, channels)
    assert np.abs(read.astype(int) - value[:16, :16, :channels]).max() <= 4


def test_same_size_is_left_alone(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    np.testing.assert_array_equal(folder.read(save(tmp_path / "a.png", image), SHAPE), image)


@pytest.mark.parametrize("size", [(16, 48), (48, 16), (64, 192), (5, 15)])
def test_covers_then_crops_the_centre(size, tmp_path):
    # Thirds of red, green, blue along the long side: the centred square is all green.
    thirds = np.zeros((*size, 3), np.uint8)
    along = thirds if size[0] > size[1] else thirds.swapaxes(0, 1)
    along[np.arange(len(along)), :, np.arange(len(along)) * 3 // len(along)] = 255
    read = folder.read(save(tmp_path / "a.png", thirds), SHAPE)
    inner = read[4:12, 4:12]
    assert (inner[..., 1] > 240).all() and (inner[..., [0, 2]] < 15).all()


@pytest.mark.parametrize("side, to", [(29, 28), (55, 100), (58, 28), (7, 100)])
def test_rounding_takes_no_part_beyond_the_image(side, to):
    grey = folder.fit(Image.new("L", (side, side), 9), (to, to, 1), "x")
    assert grey.shape == (to, to, 1) and (grey == 9).all()


def test_exif_orientation_is_applied(tmp_path):
    image = np.zeros((16, 16, 3), np.uint8)
    image[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the stored top is the right side
    read = folder.read(save(tmp_path / "a.png", image, exif=exif), SHAPE)
    assert (read[:, 8:] == 255).all() and (read[:, :8] == 0).all()


@pytest.mark.parametrize(
    ("mode", "channels", "words"),
    [
        ("L", 3, "has 1 channels .mode L., not the 3"),
        ("RGB", 1, "has 3 channels .mode RGB., not the 1"),
        ("RGBA", 3, "has 4 channels .mode RGBA."),
        ("LA", 1, "has 2 channels .mode LA."),
        ("I;16", 1, "mode I;16"),
    ],
)
def test_other_channels_are_one_clear_line(mode, channels, words, tmp_path):
    path = tmp_path / "a.png"
    Image.new(mode, (20, 20)).save(path)
    with pytest.raises(DataError, match=words) as error:
        folder.read(path, (16, 16, channels))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def bomb(width: int, height: int) -> bytes:
    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)


@pytest.mark.parametrize("side", [4_001, 12_000, 60_000])  # also beyond Pillow's own two limits
def test_a_bomb_is_refused_before_a_pixel_is_decoded(side, tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(side, side))

    def load(self):
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "load", load)
    with pytest.raises(DataError, match="bomb.png is larger than 16 megapixels"):
        folder.read(path, SHAPE)


@pytest.mark.parametrize("content", [b"", b"hello, I am text", b"<html></html>", bomb(100, 100)])
def test_not_a_whole_image_is_one_clear_line(content, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a whole PNG, JPEG, WebP or BMP") as error:
        folder.read(path, SHAPE)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_truncated_jpeg(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    path = save(tmp_path / "a.jpg", noise)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DataError, match="truncated"):
        folder.read(path, SHAPE)


def test_finds_images_at_any_depth_sorted(tmp_path):
    for name in ("b.png", "a/z.JPG", "a/c/d.webp", ".hidden.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [p.relative_to(tmp_path).as_posix() for p in folder.find_images(str(tmp_path))]
    assert found == ["a/c/d.webp", "a/z.JPG", "b.png"]


@pytest.mark.parametrize("source", ["", "nowhere", "."])
def test_no_images(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="is not a folder|no image in"):
        folder.find_images(source)


@pytest.mark.parametrize(("n", "sizes"), [(10, [8, 1, 1]), (19, [17, 1, 1]), (100, [80, 10, 10])])
def test_split_is_seeded_and_a_partition(n, sizes):
    paths = [folder.Path(f"{i}.png") for i in range(n)]
    splits = folder.split(paths, 0)
    assert [len(part) for part in splits.values()] == sizes
    assert sorted(sum(splits.values(), [])) == sorted(paths)
    assert splits == folder.split(paths, 0)
    assert splits != folder.split(paths, 1)


def test_nine_images_are_too_few():
    with pytest.raises(DataError, match="too few"):
        folder.split([folder.Path(str(i)) for i in range(9)], 0)


def test_a_link_to_nothing_is_named(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match="a.png cannot be read .No such file.*: remove it"):
        folder.fingerprint(folder.find_images(str(tmp_path)), SHAPE, 0)


def test_fingerprint_changes_with_everything_that_matters(tmp_path):
    paths = [save(tmp_path / f"{i}.png", np.zeros(SHAPE)) for i in range(3)]
    prints = [
        folder.fingerprint(paths, SHAPE, 0),
        folder.fingerprint(paths, SHAPE, 1),
        folder.fingerprint(paths, (8, 8, 3), 0),
        folder.fingerprint(paths[:2], SHAPE, 0),
    ]
    assert prints[0] == folder.fingerprint(paths, SHAPE, 0)
    os.utime(paths[0], (1, 1))
    prints.append(folder.fingerprint(paths, SHAPE, 0))
    assert len(set(prints)) == len(prints)


@pytest.mark.parametrize("shape", [(0, 0, 0), (8, 8, 2), (8, 8), (8, -1, 3)])
def test_shape_is_needed(shape):
    with pytest.raises(ConfigError, match="--config.data.shape"):
        folder.check_shape("folder", shape)


@pytest.mark.parametrize("shape", [(28, 28, 1), (5, 3, 3), (1, 1, 1)])
def test_encode_png_round_trip(shape, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    (tmp_path / "a.png").write_bytes(folder.encode_png(image))
    np.testing.assert_array_equal(folder.read(tmp_path / "a.png", shape), image)
