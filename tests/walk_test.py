"""Which files of a folder are images, and that everything left out is said."""

import os

import pytest

from rnnae.data import walk


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def names(found):
    return [path.relative_to(found.root).as_posix() for path in found.images]


def test_images_are_found_in_subfolders_and_sorted(tmp_path):
    touch(tmp_path, "b.png", "a/z.JPG", "a/c/d.webp", "notes.txt", "a/e.tif", ".DS_Store", "x.gif")
    found = walk.find(tmp_path)
    assert names(found) == ["a/c/d.webp", "a/z.JPG", "b.png"]
    assert found.left_out == {walk.OTHER_ENDINGS: ["a/e.tif", "notes.txt", "x.gif"]}
    assert walk.describe(found) == "files with other endings: .tif (1), .txt (1), .gif (1)"


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", ".thumbnails/deep", ".git"])
def test_hidden_folders_and_files_are_left_out_and_named(hidden, tmp_path):
    touch(tmp_path, "a/b.png", f"a/{hidden}/c.png", "a/._b.png")
    found = walk.find(tmp_path)
    top = f"a/{hidden.partition('/')[0]}"
    assert names(found) == ["a/b.png"]
    assert found.left_out == {walk.HIDDEN_FOLDERS: [top], walk.HIDDEN_FILES: ["a/._b.png"]}
    assert walk.describe(found) == f"hidden files: a/._b.png; hidden folders: {top}"


def test_runs_and_prepared_sets_of_this_program_are_left_out_and_named(tmp_path):
    touch(tmp_path, "a.png", "runs/x/config.json", "runs/x/metrics.jsonl", "runs/x/pictures/p.png")
    touch(tmp_path, "runs/y/seed0/config.json", "runs/y/seed0/checkpoints/latest/3/x")
    touch(tmp_path, "runs/y/seed0/samples/1.png", "data/mnist/3.0.1/dataset_info.json")
    touch(tmp_path, "data/mnist/3.0.1/x.png", "mine/config.json", "mine/b.png")
    found = walk.find(tmp_path)
    assert names(found) == ["a.png", "mine/b.png"]  # a config.json alone is no run
    assert found.left_out[walk.RUNS] == ["runs/x", "runs/y/seed0"]
    assert found.left_out[walk.PREPARED] == ["data/mnist/3.0.1"]


def test_a_run_beside_its_own_images_gives_none_of_its_figures(tmp_path):
    touch(tmp_path, "a.png", "config.json", "metrics.jsonl", "pictures/p.png", "samples/s.png")
    found = walk.find(tmp_path)
    assert names(found) == ["a.png"]
    assert found.left_out[walk.RUNS] == ["pictures", "samples"]


def test_links_to_folders_are_followed_once(tmp_path):
    root = tmp_path / "images"
    touch(root, "a.png", "sub/b.png", ".store/c.png")
    touch(tmp_path / "elsewhere", "d.png", "deep/e.png")
    (root / "more").symlink_to("../elsewhere")
    (root / "again").symlink_to(tmp_path / "elsewhere")
    (root / "stored").symlink_to(".store")
    (root / "twin").symlink_to("sub")
    (tmp_path / "elsewhere" / "back").symlink_to(root)
    found = walk.find(root)
    expected = ["a.png", "again/d.png", "again/deep/e.png", "stored/c.png", "sub/b.png"]
    assert names(found) == expected
    assert found.links == ["again", "stored"]
    assert found.left_out[walk.USED_ALREADY] == ["more", "twin"]
    assert found.left_out[walk.LOOPS] == ["again/back"]


@pytest.mark.parametrize("target", [".", "..", "/"])
def test_a_link_to_a_folder_above_is_a_loop(target, tmp_path):
    touch(tmp_path / "images", "a.png")
    (tmp_path / "images" / "loop").symlink_to(target)
    found = walk.find(tmp_path / "images")
    assert names(found) == ["a.png"] and found.left_out == {walk.LOOPS: ["loop"]}


def test_links_that_lead_nowhere_do_not_stop_the_search(tmp_path):
    touch(tmp_path, "a.png")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "gone.png").symlink_to("nowhere")
    assert names(walk.find(tmp_path)) == ["a.png", "gone.png"]  # reading it is an error, later


def test_only_regular_files_are_images(tmp_path):
    touch(tmp_path, "a.png")
    os.mkfifo(tmp_path / "x.png")
    (tmp_path / "y.jpg").symlink_to("x.png")
    (tmp_path / "z.png").symlink_to("/dev/zero")
    found = walk.find(tmp_path)
    assert names(found) == ["a.png"]
    assert walk.describe(found) == "pipes, sockets and devices: x.png, y.jpg, z.png"


def test_a_name_of_any_bytes_can_be_printed(tmp_path):
    (tmp_path / ".a\nb").mkdir()
    os.mkdir(os.fsencode(tmp_path) + b"/.\xff")
    line = walk.describe(walk.find(tmp_path))
    assert line == "hidden folders: .a b, .?"
    line.encode()
