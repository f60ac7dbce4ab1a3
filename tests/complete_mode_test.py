"""--mode complete: the picture that it writes, and its errors, of which each is one line."""

import json

import numpy as np
import pytest
from PIL import Image

from rnnae.config import saved_config, shipped
from rnnae.errors import ConfigError, DataError
from rnnae.evaluation import modes
from tests.main_test import run

WEIGHTS = "mnist_classes"


def saved():
    return saved_config.get_config(str(saved_config.find(shipped.find_weights(WEIGHTS))))


@pytest.fixture
def images(tmp_path):
    """A digit-like image and a mask of its upper half, both of twice the size of a digit."""
    image, mask = np.zeros((56, 56), np.uint8), np.zeros((56, 56), np.uint8)
    image[12:44, 24:32], mask[:28] = 255, 255
    Image.fromarray(image).save(tmp_path / "image.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(mask[:28]).save(tmp_path / "half.png")
    Image.fromarray(mask | 255).save(tmp_path / "white.png")
    (tmp_path / "text.png").write_text("no image")
    return tmp_path


@pytest.mark.slow
def test_completions_of_a_file_by_weights(images):
    flags = ("--mode=complete", f"--weights={WEIGHTS}", f"--image={images / 'image.png'}")
    flags += (f"--mask={images / 'mask.png'}", "--label=1", "--draw_seed=3")
    code, out, err = run(*flags, "--count=3", f"--out={images / 'out.npy'}")
    assert code == 0 and "3 completions in" in out and "exactly" in out, err
    found = np.load(images / "out.npy")
    assert found.shape == (3, 28, 28, 1) and set(np.unique(found)) == {0, 255}
    with Image.open(images / "image.png") as image:
        expected = np.asarray(image.resize((28, 28), Image.Resampling.LANCZOS))[:14]
    sure = np.isin(expected, (0, 255))  # grey pixels are binarised
    assert sure.mean() > 0.8 and (found[:, :14, :, 0] == expected)[:, sure].all()
    about = json.loads((images / "out.npy.json").read_text())
    assert about["method"] == "exact" and about["class"] == "1" and about["seed"] == 3
    code, _, err = run(*flags, f"--out={images / 'out.png'}")
    with Image.open(images / "out.png") as grid:
        assert grid.height > 10 * 28 and code == 0, err  # the image, its part and 8 completions


@pytest.mark.parametrize(
    "image, mask, kind, words",
    [
        ("image.png", "half.png", ConfigError, "has 56x28 pixels, and .*56x56: both must have"),
        ("image.png", "white.png", ConfigError, "white everywhere, so nothing is missing"),
        ("image.png", "text.png", DataError, "text.png is not a complete PNG"),
        ("text.png", "mask.png", DataError, "text.png is not a complete PNG"),
        ("image.png", "none.png", DataError, "none.png .*No such file"),
    ],
)
def test_bad_files_are_refused_and_nothing_is_written(images, image, mask, kind, words):
    before = sorted(images.iterdir())
    wanted = modes.CompletionRequest(str(images / image), str(images / mask))
    with pytest.raises(kind, match=words):
        modes.complete(saved(), images / "work", wanted, images / "out.png", WEIGHTS)
    assert sorted(images.iterdir()) == before


def test_what_the_run_is_comes_from_its_own_config_and_how_it_is_used_from_the_given_one(images):
    """The config of a file has no shape, fingerprint and classes of images."""
    config, out = saved(), images / "out.png"
    config.data.shape, config.data.fingerprint, config.data.class_names = (0, 0, 0), "", ()
    wanted = modes.CompletionRequest(str(images / "image.png"), str(images / "white.png"))
    with pytest.raises(ConfigError, match="white everywhere"):  # so both files have been read
        modes.complete(config, images / "work", wanted, out, WEIGHTS)
    config.data.max_megapixels = 0.001
    with pytest.raises(DataError, match="max_megapixels"):
        modes.complete(config, images / "work", wanted, out, WEIGHTS)
    config.seed = 5
    with pytest.raises(ConfigError, match="another run .config.seed: 0 there, 5 here"):
        modes.complete(config, images / "work", wanted, out, WEIGHTS)


def test_a_class_that_does_not_exist_and_a_file_that_cannot_be_written_are_refused(images):
    wanted = modes.CompletionRequest(
        str(images / "image.png"), str(images / "mask.png"), label="ten"
    )
    with pytest.raises(ConfigError, match="ten"):
        modes.complete(saved(), images / "work", wanted, images / "out.png", WEIGHTS)
    with pytest.raises(FileNotFoundError, match="no such directory"):
        modes.complete(saved(), images / "work", wanted, images / "no" / "out.png", WEIGHTS)
