"""Preparing folders and published files: when it is done again, what is said and left behind."""

import os
import shutil

import fake_published
import pytest
from fake_published import make_images
from PIL import Image

from rnnae.data import manifest, tfds_directory
from rnnae.data.images import ReadOptions
from rnnae.data.prepare import prepare
from rnnae.errors import ConfigError, DataError


def read(path, split, **kwargs):
    return tfds_directory.open_split(path, split, **kwargs)[:]


def test_a_preparation_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    source = make_images(tmp_path / "images")
    (tmp_path / "images" / "99.png").write_bytes(b"not an image")
    data_dir = tmp_path / "data"
    with pytest.raises(DataError, match="99.png is not a complete"):
        prepare("folder", data_dir=data_dir, source_dir=source, shape=(8, 8, 3))
    assert [path.name[:9] for path in data_dir.iterdir()] == [".digests-"]  # for the next try


def test_temporary_files_of_killed_runs_are_removed_after_a_day(tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "mnist", tmp_path)
    for name in (".preparing-old", ".download-old", ".preparing-now"):
        (tmp_path / "data" / name / "mnist").mkdir(parents=True)
        if name.endswith("old"):
            os.utime(tmp_path / "data" / name, (1, 1))
    for _ in range(2):  # also when there is nothing to prepare
        (tmp_path / "data" / ".preparing-older").mkdir()
        os.utime(tmp_path / "data" / ".preparing-older", (1, 1))
        prepare("mnist", data_dir=tmp_path / "data", source_dir=str(tmp_path))
    names = sorted(p.name for p in (tmp_path / "data").iterdir())
    assert names == [".preparing-now", "mnist"]


def test_a_folder_is_prepared_again_when_it_changes(tmp_path):
    source = make_images(tmp_path / "images")
    kwargs = {"data_dir": tmp_path / "data", "source_dir": source, "shape": (8, 8, 3)}
    path = prepare("folder", **kwargs)
    assert tfds_directory.split_sizes(path) == {"train": 16, "validation": 2, "test": 2}
    splits = ("train", "validation", "test")
    reds = sorted(image[0, 0, 0] for split in splits for image in read(path, split))
    assert reds == list(range(0, 200, 10))
    assert prepare("folder", **kwargs) == path
    Image.new("RGB", (9, 9)).save(tmp_path / "images" / "more.png")
    changed = prepare("folder", **kwargs)
    assert changed != path and tfds_directory.split_sizes(changed)["train"] == 17


def test_a_folder_of_grey_images_is_prepared(tmp_path):
    source = make_images(tmp_path / "images", mode="L")
    path = prepare("folder", data_dir=tmp_path, source_dir=source, shape=(6, 9, 1))
    assert tfds_directory.open_split(path, "train").shape == (16, 6, 9, 1)


def test_a_folder_needs_a_shape(tmp_path):
    source = make_images(tmp_path / "images")
    with pytest.raises(ConfigError, match="--config.data.shape"):
        prepare("folder", data_dir=tmp_path, source_dir=source)


def folder_in(tmp_path, **kwargs):
    """Prepares tmp_path/images; returns (path, printed lines)."""
    lines = []
    defaults = {"source_dir": str(tmp_path / "images"), "shape": (8, 8, 3)}
    path = prepare("folder", data_dir=tmp_path / "data", log=lines.append, **defaults | kwargs)
    return path, lines


def test_a_touched_or_moved_folder_is_not_prepared_again(tmp_path, monkeypatch):
    make_images(tmp_path / "images")
    path, _ = folder_in(tmp_path)
    monkeypatch.setattr(tfds_directory, "write", None)
    os.utime(tmp_path / "images" / "00.png", (1, 1))
    assert folder_in(tmp_path)[0] == path
    shutil.move(tmp_path / "images", tmp_path / "moved")
    assert folder_in(tmp_path, source_dir=str(tmp_path / "moved"))[0] == path


def test_older_copies_of_folders_are_named_with_their_size(tmp_path):
    source = make_images(tmp_path / "images")
    old, lines = folder_in(tmp_path)
    assert not any("prepared before" in line for line in lines)
    Image.new("RGB", (9, 9)).save(tmp_path / "images" / "more.png")
    (line,) = [line for line in folder_in(tmp_path)[1] if "prepared before" in line]
    assert f": {old.parent} (0.4 MB, from {source}); remove those that no run needs" in line
    for i in range(5):
        folder_in(tmp_path, shape=(8, 9 + i, 3))
    (line,) = [line for line in folder_in(tmp_path, shape=(1, 1, 3))[1] if "before" in line]
    assert line.count("folder_") == 5 and " and 2 more;" in line


def test_a_followed_link_is_said(tmp_path):
    make_images(tmp_path / "elsewhere")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "more").symlink_to("../elsewhere")
    lines = folder_in(tmp_path)[1]
    assert lines[0].endswith(": from more (20)")
    assert lines[1] == "links to folders that are followed: more"


def test_every_start_says_which_images_are_used_and_which_are_not(tmp_path):
    make_images(tmp_path / "images")
    make_images(tmp_path / "images" / ".ipynb_checkpoints", n=3)
    for _ in range(2):
        first, second = folder_in(tmp_path)[1]
        assert first.startswith("20 images in ") and first.endswith(": from . (20)")
        assert second.endswith("images: hidden folders: .ipynb_checkpoints")


def test_bad_images_that_were_left_out_are_named_at_every_start(tmp_path):
    make_images(tmp_path / "images")
    (tmp_path / "images" / "05.png").write_bytes(b"not an image")
    path, lines = folder_in(tmp_path, skip_bad_images=True)
    assert sum(tfds_directory.split_sizes(path).values()) == 19
    for words in (lines, folder_in(tmp_path, skip_bad_images=True)[1]):
        assert (
            words[-1].startswith("left out, cannot be used (1): ") and "05.png is not" in words[-1]
        )
    with pytest.raises(DataError, match="^1 image cannot be used: .*05.png"):
        folder_in(tmp_path)


def test_images_over_a_background_are_another_set(tmp_path):
    make_images(tmp_path / "images", mode="RGBA")
    for i in range(20):
        Image.new("RGBA", (8, 8)).save(tmp_path / "images" / f"{i:02d}.png")
    with pytest.raises(DataError, match="at least 10 images .* transparent pixels"):
        folder_in(tmp_path)
    white, _ = folder_in(tmp_path, options=ReadOptions("white"))
    black, _ = folder_in(tmp_path, options=ReadOptions("#000"))
    assert (read(white, "test") == 255).all() and (read(black, "test") == 0).all()
    with pytest.raises(ConfigError, match="background must be a colour"):
        folder_in(tmp_path, options=ReadOptions("blackish"))


def test_a_copy_of_another_data_set_is_prepared_again(tmp_path, capsys):
    make_images(tmp_path / "images")
    path, _ = folder_in(tmp_path)
    expected = read(path, "train")
    Image.new("RGB", (9, 9)).save(tmp_path / "images" / "more.png")
    other, _ = folder_in(tmp_path)
    (tmp_path / "images" / "more.png").unlink()
    shutil.rmtree(path)
    shutil.copytree(other, path)
    assert (read(folder_in(tmp_path)[0], "train") == expected).all()
    assert f"it is a copy of the data set {other.parent.name})" in capsys.readouterr().out


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 4
    path.write_bytes(content)


def damages():
    """(name, function of a prepared directory)"""
    for name in ("dataset_info.json", "features.json", manifest.NAME):
        for position in (0, 30, 100, -20):
            yield f"{name}:{position}", lambda p, n=name, at=position: flip(p / n, at)
        yield f"{name}:empty", lambda p, n=name: (p / n).write_bytes(b"")
        yield f"{name}:list", lambda p, n=name: (p / n).write_text("[]")
    for name in ("dataset_info.json", "features.json"):
        yield f"{name}:deleted", lambda p, n=name: (p / n).unlink()
    yield "records:flipped", lambda p: flip(next(p.glob("*train*")), 5000)
    yield "records:deleted", lambda p: next(p.glob("*test*")).unlink()


@pytest.mark.parametrize("name", [name for name, _ in damages()])
def test_a_damaged_directory_is_prepared_again_and_that_is_said(name, tmp_path, monkeypatch, capfd):
    fake_published.install(monkeypatch, "mnist", tmp_path)
    kwargs = {"data_dir": tmp_path / "data", "source_dir": str(tmp_path)}
    path = prepare("mnist", **kwargs)
    images = read(path, "train")
    dict(damages())[name](path)
    capfd.readouterr()
    assert prepare("mnist", **kwargs) == path
    assert f"{path} is damaged (" in capfd.readouterr().out
    assert tfds_directory.split_sizes(path) == {"train": 30, "test": 12}
    assert (read(path, "train") == images).all()
    assert sorted(os.listdir(tmp_path / "data")) == ["mnist"]
    assert prepare("mnist", **kwargs) == path and capfd.readouterr().out == ""


def test_a_damaged_folder_set_is_prepared_again_or_refused_in_one_line(tmp_path, capfd):
    make_images(tmp_path / "images")
    path, _ = folder_in(tmp_path)
    (path / "features.json").write_text("{}")
    again, lines = folder_in(tmp_path)
    assert again == path and not any("prepared before" in line for line in lines)
    assert "features.json has changed): it is prepared again" in capfd.readouterr().out
    (path / "features.json").write_text("{}")
    shutil.rmtree(tmp_path / "images")
    with pytest.raises(DataError, match="images is not a folder"):
        folder_in(tmp_path)


def test_a_copied_directory_is_intact_and_read_once(tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "mnist", tmp_path)
    path = prepare("mnist", data_dir=tmp_path / "data", source_dir=str(tmp_path))
    monkeypatch.setattr(manifest, "_SMALL", 0)  # every file counts as large
    for file in path.iterdir():
        os.utime(file, (1, 1))
    read_files = []
    of_file = manifest.digests.of_file
    monkeypatch.setattr(manifest.digests, "of_file", lambda p: read_files.append(p) or of_file(p))
    assert manifest.damage(path) == "" and read_files
    read_files.clear()
    assert manifest.damage(path) == "" and not read_files


def test_a_pipe_in_place_of_a_file_is_damage_and_is_not_waited_for(tmp_path):
    (tmp_path / "features.json").touch()
    manifest.write(tmp_path)
    (tmp_path / "features.json").unlink()
    os.mkfifo(tmp_path / "features.json")
    assert manifest.damage(tmp_path) == (
        "features.json cannot be read: It is a pipe or a device, not a file"
    )


def test_a_directory_of_an_older_version_gets_a_manifest(tmp_path, monkeypatch, capfd):
    fake_published.install(monkeypatch, "mnist", tmp_path)
    kwargs = {"data_dir": tmp_path / "data", "source_dir": str(tmp_path)}
    path = prepare("mnist", **kwargs)
    (path / manifest.NAME).unlink()
    capfd.readouterr()
    prepare("mnist", **kwargs)
    assert manifest.exists(path) and capfd.readouterr().out == ""


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("text", ["", "[]", "{", '{"fileFormat": "array_record"}', "null"])
def test_damage_in_a_directory_without_manifest_is_one_line_and_nothing_is_removed(
    file, text, tmp_path, monkeypatch
):
    fake_published.install(monkeypatch, "mnist", tmp_path)
    kwargs = {"data_dir": tmp_path / "data", "source_dir": str(tmp_path)}
    path = prepare("mnist", **kwargs)
    (path / manifest.NAME).unlink()
    (path / file).write_text(text)
    with pytest.raises(DataError, match="remove this folder|needs TensorFlow") as error:
        tfds_directory.split_sizes(prepare("mnist", **kwargs))
    assert "\n" not in str(error.value) and (path / file).read_text() == text
