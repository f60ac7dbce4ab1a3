"""Defaults, the reference of all keys, and saved configs with old and damaged contents."""

import json

import numpy as np
import pytest

from rnnae.config import (
    changes,
    check,
    check_seed,
    default,
    flat,
    is_seed,
    reference,
    resolved,
    saved_config,
)
from rnnae.config.choices import CHOICES, DICTS
from rnnae.config.defaults import MODEL_DEFAULTS
from rnnae.config.saved_config import RENAMED
from rnnae.data import binarisation
from rnnae.data.augmentation import AUGMENTATIONS
from rnnae.data.datasets import DATASETS
from rnnae.errors import ConfigError
from rnnae.latents import LATENTS
from rnnae.likelihoods import LIKELIHOODS
from rnnae.models import MODELS
from rnnae.nn.cells import CELLS
from rnnae.scan_order import ORDERS


@pytest.mark.parametrize("model", MODEL_DEFAULTS)
def test_every_key_is_in_the_reference_with_its_default(model):
    entries = reference.entries()
    for key, value in flat(default(model).to_dict()).items():
        of_model = model if (model, key) in entries else ""  # model.classes is a key of all models
        written, comment = entries[of_model, key]
        found = eval(written)  # an expression of defaults.py, such as 0.5**0.5
        assert (list(found) if isinstance(found, tuple) else found) == value, key
        assert comment, key
        assert f"--config.{key}={written}" in reference.text()


def test_the_choices_in_the_reference_are_the_keys_of_the_dicts():
    dicts = {
        "data.augment": AUGMENTATIONS,
        "data.name": DATASETS,
        "model.cell": CELLS,
        "model.order": ORDERS,
        "latent.name": LATENTS,
        "likelihood.name": LIKELIHOODS,
    }
    assert dicts.keys() == DICTS.keys()
    for key, implementations in dicts.items():
        assert reference.choices(key) == (
            *implementations,
            *(("folder",) if key == "data.name" else ()),
        )
    assert set(MODELS) == set(MODEL_DEFAULTS)
    assert reference.choices("optim.name") == CHOICES["optim.name"]


@pytest.mark.parametrize("model", MODEL_DEFAULTS)
def test_defaults_are_valid_choices(model):
    check(default(model))


def test_changes_are_the_keys_that_make_another_run():
    old = resolved(default(), (28, 28, 1))
    new = resolved(default(), (28, 28, 1))
    new.train.epochs, new.data.data_dir, new.eval.seeds = 7, "elsewhere", (3,)
    assert changes(old.to_dict(), new.to_dict()) == []
    new.model.width, new.seed = 5, 1
    assert [key for key, *_ in changes(old.to_dict(), new.to_dict())] == ["model.width", "seed"]
    assert "model.widths" in [k for k, *_ in changes(old.to_dict(), default("mlp").to_dict())]


def test_a_key_that_an_older_run_did_not_have_counts_as_its_default():
    old, new = default().to_dict(), resolved(default(), (0, 0, 0), "some images")
    del old["data"]["fingerprint"], old["optim"]["matmul_precision"]
    assert changes(old, new.to_dict()) == []
    new.optim.matmul_precision = "bfloat16"
    key, before, after = "optim.matmul_precision", "float32", "bfloat16"
    assert changes(old, new.to_dict()) == [(key, before, after)]


@pytest.mark.parametrize("model", MODEL_DEFAULTS)
def test_a_run_saved_under_old_names_still_loads(model, tmp_path):
    config = default(model)
    saved = config.to_dict()
    renamed = 0
    for (of_model, old), new in RENAMED.items():
        if of_model in ("", model):
            section, _, key = new.partition(".")
            saved[section][old.partition(".")[2]] = saved[section].pop(key)
            renamed += 1
    assert renamed >= 3
    path = tmp_path / "config.json"
    path.write_text(json.dumps(saved))
    assert saved_config.get_config(str(path)).to_dict() == config.to_dict()
    assert saved_config.rename_old_keys(config.to_dict()) == config.to_dict()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": {}}', '{"model": 5}', "null"])
def test_a_damaged_config_is_one_clear_line(text, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="config.json is damaged.*replace it from a copy"):
        saved_config.get_config(str(path))


@pytest.mark.parametrize("model", MODEL_DEFAULTS)
def test_every_flipped_bit_of_a_saved_config_is_found(model, tmp_path):
    config = default(model)
    text = saved_config.to_text(config.to_dict()).encode()
    path, copy = tmp_path / "config.json", tmp_path / "checkpoints" / "latest" / "3" / "config.json"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(text)
    for position in range(0, len(text), 7):
        flipped = bytearray(text)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        try:
            assert saved_config.get_config(str(path)).to_dict() == config.to_dict()
        except ConfigError as error:
            line = str(error)
            assert f"replace it by the copy in {copy}" in line or "another version" in line
    path.write_bytes(text.replace(b"0.7071", b"0.3071"))
    if b"0.7071" in text:
        with pytest.raises(ConfigError, match="damaged, or was changed by hand"):
            saved_config.get_config(str(path))


@pytest.mark.parametrize("key", ["model.residual", "novelty"])
def test_a_key_that_this_version_does_not_have_is_named(key, tmp_path):
    saved = default().to_dict()
    section, _, name = key.rpartition(".")
    (saved[section] if section else saved)[name] = True
    path = tmp_path / "config.json"
    path.write_text(json.dumps(saved))
    with pytest.raises(ConfigError, match=f"config.{key} is unknown; use the commit"):
        saved_config.get_config(str(path))


def test_a_folder_run_of_an_older_version_keeps_the_split_of_its_seed(tmp_path):
    config = default()
    config.seed, config.data.name = 3, "folder"
    saved = config.to_dict()
    for key in ("split_seed", "background", "skip_bad_images", "max_megapixels"):
        del saved["data"][key]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(saved))
    assert saved_config.get_config(str(path)).data.split_seed == 3
    assert changes(saved_config.read(path), config.to_dict()) == [("data.split_seed", 3, 0)]
    config.data.split_seed = 3
    assert changes(saved_config.read(path), config.to_dict()) == []


@pytest.mark.parametrize(("key", "value"), [("data.split_seed", -1), ("data.max_megapixels", 0.0)])
def test_impossible_values_of_a_folder_are_refused(key, value):
    config = default()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ConfigError, match=f"config.{key} must be"):
        check(config)


def test_paths_of_a_machine_never_come_from_a_saved_config(tmp_path):
    config = default()
    for key in saved_config.MACHINE_PATHS:
        config.update_from_flattened_dict({key: "/tmp/sent"})
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()), encoding="utf-8")
    loaded = saved_config.get_config(str(path))
    assert loaded.to_dict() == default().to_dict()
    line = saved_config.other_data(loaded, tmp_path)
    assert "--config.data.data_dir='/tmp/sent'" in line and "--config.data.source_dir=" in line
    assert saved_config.other_data(config, tmp_path) == ""  # the user has set these paths
    path.write_text(json.dumps(default().to_dict()), encoding="utf-8")
    assert saved_config.other_data(default(), tmp_path) == ""


@pytest.mark.parametrize("seed", [-1, 2**31, 2**32, 1.0, "1", None, np.int64(-1)])
def test_a_seed_that_could_equal_another_is_refused(seed):
    assert not is_seed(seed)
    with pytest.raises(ConfigError, match="seed must be an integer from 0 to 2,147,483,647"):
        check_seed(seed)
    with pytest.raises(ConfigError, match="seed must be an integer"):
        binarisation.binarise_once(np.zeros((1, 2, 2, 1), np.uint8), seed)


@pytest.mark.parametrize("seed", [0, 2**31 - 1, np.int64(7), np.uint8(3)])
def test_every_integer_type_is_a_seed(seed):
    assert check_seed(seed) == int(seed) and isinstance(check_seed(seed), int)


@pytest.mark.parametrize(
    "name", [".", "..", "", "/x", "a//b", "a/../b", "./mnist", ".hidden", "a/"]
)
def test_a_data_name_that_is_no_name_is_refused(name):
    config = default()
    config.data.name = name
    with pytest.raises(ConfigError, match="config.data.name must be the name of a data set"):
        check(config)


@pytest.mark.parametrize("name", ["mnist", "imagenet_resized/32x32", "a/b-c.1+x"])
def test_names_of_tfds_are_names(name):
    config = default()
    config.data.name = name
    check(config)
