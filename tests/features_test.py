"""The features of a TFDS directory are TFDS's own classes, or the directory is refused."""

import json
import sys

import numpy as np
import pytest

from rnnae.data import tfds_directory
from rnnae.errors import DataError

EVIL = "evil_features.Image"
_OWN = "tensorflow_datasets.core.features"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    final = tmp_path_factory.mktemp("data") / "some" / "1.0.0"
    examples = [{"image": np.zeros((4, 4, 1), np.uint8)}] * 3
    feature = tfds_directory._tfds().features.Image(shape=(4, 4, 1))
    tfds_directory.write(final, {"image": feature}, {"train": examples, "test": examples})
    return final


def other_class(features, name=EVIL):
    features["featuresDict"]["features"]["image"]["pythonClassName"] = name


def test_own_features_are_accepted(prepared):
    tfds_directory.check_features(prepared)
    assert tfds_directory.split_sizes(prepared) == {"train": 3, "test": 3}


@pytest.mark.parametrize(
    "name", [EVIL, f"{_OWN}.x.y.Image", "tensorflow_datasets.scripts.cli.main.Image", f"{_OWN}."]
)
def test_code_of_somebody_is_not_run(prepared, name, tmp_path, monkeypatch):
    (tmp_path / "evil_features.py").write_text("raise SystemExit('this was run')")
    monkeypatch.syspath_prepend(tmp_path)
    path = prepared / "features.json"
    before = path.read_text()
    features = json.loads(before)
    other_class(features, name)
    path.write_text(json.dumps(features))
    try:
        for function in (
            tfds_directory.split_sizes,
            lambda p: tfds_directory.open_split(p, "test"),
        ):
            with pytest.raises(DataError, match="which is not of TFDS: its code would be run"):
                function(prepared)
    finally:
        path.write_text(before)
    assert "evil_features" not in sys.modules


@pytest.mark.parametrize(
    "text",
    [
        f'{{"pythonClassName": "{EVIL}", "pythonClassName": "{_OWN}.a.B"}}',  # there twice
        f'{{"python_class_name": "{EVIL}"}}',
        f'{{"type": "{EVIL}", "content": {{}}}}',  # of old versions of TFDS
        json.dumps({"jsonFeature": {"json": json.dumps({"a": {"type": EVIL}})}}),  # in a string
        json.dumps({"content": " " + json.dumps([{"type": EVIL}])}),
    ],
)
def test_a_class_is_found_wherever_tfds_reads_it(text, tmp_path):
    (tmp_path / "features.json").write_text(text)
    with pytest.raises(DataError, match=f"names the class '{EVIL}'"):
        tfds_directory.check_features(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00"])
def test_damaged_features_are_one_line(text, tmp_path):
    (tmp_path / "features.json").write_text(text)
    with pytest.raises(DataError, match="is damaged .features.json: .*: remove this folder"):
        tfds_directory.check_features(tmp_path)


def test_a_feature_may_be_called_type(tmp_path):
    features = {"features": {"type": {"pythonClassName": f"{_OWN}.text_feature.Text"}}}
    features["description"] = "{not JSON"
    (tmp_path / "features.json").write_text(json.dumps(features))
    tfds_directory.check_features(tmp_path)
