import io

import fake_published
import numpy as np
import pytest
from scipy.io import savemat

from rnnae.data import parsers
from rnnae.errors import DataError


def encode_cifar(content: bytes) -> bytes:
    images, labels = parsers.parse_cifar(content)
    planes = images.transpose(0, 3, 1, 2).reshape(-1, 3072)
    return np.concatenate([labels[:, None], planes], axis=1).tobytes()


@pytest.mark.parametrize(
    ("name", "encode_again"),
    [
        ("mnist", lambda content: fake_published.idx(parsers.parse_idx(content).squeeze())),
        ("cifar10", encode_cifar),
        (
            "binarized_mnist",
            lambda content: fake_published.amat(parsers.parse_amat(content).reshape(-1, 784)),
        ),
    ],
)
def test_parsers_invert_the_published_layouts(name, encode_again):
    for content in fake_published.make(name).values():
        assert encode_again(content) == content


def test_parse_omniglot_inverts_the_published_layout():
    (content,) = fake_published.make("omniglot_28").values()
    train, test = parsers.parse_omniglot(content)
    again = fake_published.mat(data=train, testdata=test)
    assert again[128:] == content[128:]  # after a header with the time


@pytest.mark.parametrize(
    ("parse", "content", "words"),
    [
        (parsers.parse_idx, b"", "its header is "),
        (parsers.parse_idx, bytes([0, 0, 13, 1, 0, 0, 0, 1, 5]), "its header is 00000d01"),
        (parsers.parse_idx, bytes([0, 0, 8, 1, 0, 0]), "its header is 00000801"),
        (
            parsers.parse_idx,
            bytes([0, 0, 8, 1, 0, 0, 0, 2, 5]),
            "shape is .2,., but",
        ),
        (parsers.parse_cifar, bytes(3074), "3,074 bytes"),
        (parsers.parse_cifar, bytes([10]) + bytes(3072), "label 10"),
        (parsers.parse_amat, b"0 " * 783, "1,566 bytes"),
        (parsers.parse_amat, b"0 " * 783 + b"2\n", "other digits"),
    ],
)
def test_wrong_content_is_one_clear_line(parse, content, words):
    with pytest.raises(DataError, match=words) as error:
        parse(content)
    assert "\n" not in str(error.value)


def mat(**variables) -> bytes:
    stream = io.BytesIO()
    savemat(stream, variables)
    return stream.getvalue()


def test_omniglot_images_are_upright_and_rounded():
    values = np.random.default_rng(0).random((784, 5))
    values[:28, 0] = 1  # in MATLAB the first column
    train, test = parsers.parse_omniglot(mat(data=values, testdata=values[:, :2]))
    assert train.shape == (5, 28, 28, 1) and train.dtype == np.uint8
    assert (train[0, :, 0] == 255).all() and not (train[0, 0] == 255).all()
    # As Burda et al. read it (datasets.py of github.com/yburda/iwae).
    expected = values.T.reshape((-1, 28, 28)).reshape((-1, 28 * 28), order="F")
    difference = train.reshape(-1, 784) / 255 - expected
    assert abs(difference).max() <= 0.5 / 255 + 1e-9
    np.testing.assert_array_equal(test, train[:2])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float32])
def test_omniglot_may_be_stored_as_integers(dtype):
    whole = np.eye(784, 3, dtype=dtype)
    train, test = parsers.parse_omniglot(mat(data=whole, testdata=whole.astype(float)))
    np.testing.assert_array_equal(train, test)
    assert train.max() == 255 and train.astype(int).sum() == 3 * 255


GOOD = np.zeros((784, 3))
WHOLE = mat(data=GOOD, testdata=GOOD)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a MATLAB file"),
        (b"no MATLAB at all" * 20, "not a MATLAB file"),
        (WHOLE[: len(WHOLE) // 2], "not a MATLAB file"),
        (WHOLE[:128] + b"\xff" * 64 + WHOLE[192:], "not a MATLAB file"),
        (WHOLE[:124] + b"\x00\x02IM" + WHOLE[128:], "not a MATLAB file"),  # HDF5, as in MATLAB 7.3
        (mat(data=GOOD), "no real numbers called testdata"),
        (mat(data=GOOD, testdata="text"), "no real numbers called testdata"),
        (mat(data=GOOD, testdata={"a": 1.0}), "no real numbers called testdata"),
        (mat(data=GOOD * 1j, testdata=GOOD), "no real numbers called data"),
        (mat(data=GOOD.T, testdata=GOOD), "data is .3, 784., not .784, n."),
        (mat(data=GOOD, testdata=GOOD[:-1]), "testdata is .783, 3., not .784, n."),
        (mat(data=GOOD.reshape(28, 28, 3), testdata=GOOD), "data is .28, 28, 3., not .784, n."),
        (mat(data=GOOD + 1.01, testdata=GOOD), "data has values outside"),
        (mat(data=GOOD, testdata=GOOD - 0.01), "testdata has values outside"),
        (mat(data=GOOD, testdata=GOOD * np.nan), "testdata has values outside"),
    ],
)
def test_wrong_content_for_omniglot_is_one_clear_line(content, words):
    with pytest.raises(DataError, match=words) as error:
        parsers.parse_omniglot(content)
    assert "\n" not in str(error.value)
