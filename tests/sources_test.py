import gzip
import hashlib
import tarfile
import time
import tracemalloc
import urllib.error

import fake_published
import numpy as np
import pytest

from rnnae.data import parsers, sources
from rnnae.data.datasets import DATASETS
from rnnae.errors import DataError


def fetch(name, **kwargs):
    return sources.fetch_files(name, DATASETS[name].source, **kwargs)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(url, timeout):
        raise urllib.error.URLError(OSError("no network in tests"))

    monkeypatch.setattr(sources.urllib.request, "urlopen", refuse)


def line(error) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_the_packaged_mnist_has_the_published_checksums():
    files = fetch("mnist")
    images = parsers.parse_idx(files["train-images-idx3-ubyte"])
    labels = parsers.parse_idx(files["t10k-labels-idx1-ubyte"])
    assert images.shape == (60_000, 28, 28, 1) and images.dtype == np.uint8
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("subfolder", [False, True])
def test_files_are_found_in_the_folder_and_its_subfolders_compressed_or_not(
    name, compress, subfolder, tmp_path, monkeypatch
):
    below = DATASETS[name].source.subfolders[0] if subfolder else "."
    _, files = fake_published.install(monkeypatch, name, tmp_path / below, compress)
    assert fetch(name, source_dir=str(tmp_path)) == files


def test_binarized_mnist_is_read_from_a_packed_archive(tmp_path, monkeypatch):
    _, files = fake_published.install(monkeypatch, "binarized_mnist", tmp_path / "text")
    splits = {f.removesuffix(".amat").rpartition("_")[2]: f for f in files}
    packed = {
        split: np.packbits(parsers.parse_amat(files[file]).reshape(-1, 784), axis=1)
        for split, file in splits.items()
    }
    np.savez(tmp_path / "binarized_mnist.npz", **packed)
    assert fetch("binarized_mnist", source_dir=str(tmp_path)) == files


def test_cifar10_is_read_from_its_archive(tmp_path, monkeypatch):
    _, files = fake_published.install(monkeypatch, "cifar10", tmp_path / "src")
    (tmp_path / "out").mkdir()
    with tarfile.open(tmp_path / "out" / "cifar-10-binary.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "src", "cifar-10-batches-bin")
    assert fetch("cifar10", source_dir=str(tmp_path / "out")) == files


def test_an_archive_without_the_file_is_one_clear_line(tmp_path):
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz"):
        pass
    with pytest.raises(DataError, match="the archive has no file data_batch_1.bin") as error:
        fetch("cifar10", source_dir=str(tmp_path))
    line(error)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: b[:-100], "has .* bytes, not"),
        (lambda b: b + b"x", "has more than .* bytes"),
        (lambda b: b[:-1] + bytes([b[-1] ^ 1]), "does not have the published sha256"),
        (lambda b: b"\n<!DOCTYPE html><title>Log in</title>", "is a web page"),
        (lambda b: b"", "has 0 bytes"),
    ],
)
def test_wrong_content_is_one_clear_line(damage, words, tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "mnist", tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=words) as error:
        fetch("mnist", source_dir=str(tmp_path))
    assert str(path) in line(error) and "download it again from https://" in line(error)


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b"\x1f\x8b nonsense"])
def test_a_damaged_gzip_is_one_clear_line(damage, tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "fashion_mnist", tmp_path, compress=True)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="is damaged or incomplete") as error:
        fetch("fashion_mnist", source_dir=str(tmp_path))
    assert str(path) in line(error)


@pytest.mark.parametrize("name", [name for name in DATASETS if DATASETS[name].source.archives])
def test_a_damaged_archive_is_one_clear_line(name, tmp_path):
    for archive in DATASETS[name].source.archives:
        (tmp_path / archive).write_bytes(b"PK\x03\x04 or not")
    with pytest.raises(DataError, match="is damaged or incomplete") as error:
        fetch(name, source_dir=str(tmp_path))
    line(error)


def test_a_file_without_a_published_size_has_a_limit_and_a_checksum(tmp_path, monkeypatch):
    source, files = fake_published.install(monkeypatch, "omniglot_28", tmp_path)
    table = {file: (0, checksum) for file, (_, checksum) in source.files.items()}
    fake_published.change_source(monkeypatch, "omniglot_28", files=table)
    assert fetch("omniglot_28", source_dir=str(tmp_path)) == files
    monkeypatch.setattr(sources, "MAX_UNKNOWN_SIZE", len(files["chardata.mat"]) - 2)
    with pytest.raises(DataError, match="does not have the published sha256") as error:
        fetch("omniglot_28", source_dir=str(tmp_path))
    assert str(tmp_path / "chardata.mat") in line(error)


def test_a_gzip_bomb_is_read_no_further_than_the_published_size(tmp_path, monkeypatch):
    _, files = fake_published.install(monkeypatch, "mnist", tmp_path, compress=True)
    name = "t10k-labels-idx1-ubyte"
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(files[name] + bytes(100_000_000)))
    tracemalloc.start()
    with pytest.raises(DataError, match="has more than 20 bytes"):
        fetch("mnist", source_dir=str(tmp_path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_only_the_test_file_of_cifar10_may_have_another_order(tmp_path, monkeypatch, capsys):
    _, files = fake_published.install(monkeypatch, "cifar10", tmp_path)

    def reorder(file):
        records = np.frombuffer(files[file], np.uint8).reshape(-1, 3073)[::-1]
        (tmp_path / file).write_bytes(records.tobytes())

    reorder("test_batch.bin")
    assert set(fetch("cifar10", source_dir=str(tmp_path))) == set(files)
    assert capsys.readouterr().err.count("does not have the published") == 1
    reorder("data_batch_2.bin")
    with pytest.raises(DataError, match="data_batch_2.bin .* does not have the published"):
        fetch("cifar10", source_dir=str(tmp_path))


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "mnist"])
def test_no_files_and_no_network_names_files_url_and_flag(name, tmp_path, no_network):
    with pytest.raises(DataError, match=r"failed \(no network in tests\): ") as error:
        fetch(name, work_dir=tmp_path)
    source = DATASETS[name].source
    for words in [*source.files, source.url, "--config.data.source_dir"]:
        assert words in line(error)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_is_given_up_in_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(sources.urllib.request, "urlopen", lambda *a, **k: time.sleep(2))
    start = time.monotonic()
    with pytest.raises(DataError, match="no answer within 0.2 s"):
        fetch("cifar10", work_dir=tmp_path)
    assert time.monotonic() - start < 1


def test_a_source_dir_that_is_not_a_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not a folder: give the folder"):
        fetch("mnist", source_dir=str(tmp_path / "nowhere"))


class TestDownload:
    """From a server that is a folder on this disk."""

    @pytest.fixture
    def server(self, tmp_path, monkeypatch):
        _, files = fake_published.install(monkeypatch, "fashion_mnist", tmp_path / "www", True)
        url = (tmp_path / "www").as_uri() + "/"
        fake_published.change_source(monkeypatch, "fashion_mnist", url=url)
        return tmp_path / "www", files

    def test_gets_the_missing_files_and_leaves_nothing_behind(self, server, tmp_path, capsys):
        work = tmp_path / "work"
        assert fetch("fashion_mnist", work_dir=work) == server[1]
        assert list(work.iterdir()) == []

    def test_gets_a_data_set_of_one_file(self, tmp_path, monkeypatch, capsys):
        source, files = fake_published.install(monkeypatch, "omniglot_28", tmp_path / "www")
        assert source.url.endswith("/chardata.mat")
        url = (tmp_path / "www" / "chardata.mat").as_uri()
        fake_published.change_source(monkeypatch, "omniglot_28", url=url)
        assert fetch("omniglot_28", work_dir=tmp_path / "work") == files

    def test_verifies_the_downloaded_files(self, server, tmp_path, capsys):
        path = server[0] / "train-labels-idx1-ubyte.gz"
        path.write_bytes(b"<html>Please accept our terms</html>")
        with pytest.raises(DataError, match="is a web page"):
            fetch("fashion_mnist", work_dir=tmp_path / "work")
        path.unlink()
        with pytest.raises(DataError, match="downloading .* failed"):
            fetch("fashion_mnist", work_dir=tmp_path / "work")

    def test_a_downloaded_file_must_have_the_published_checksum(
        self, tmp_path, monkeypatch, capsys
    ):
        """Even if a copy on disk may be another version."""
        source, files = fake_published.install(monkeypatch, "cifar10", tmp_path / "src")
        test = tmp_path / "src" / "test_batch.bin"
        test.write_bytes(files[test.name][3073:] + files[test.name][:3073])
        (tmp_path / "www").mkdir()
        with tarfile.open(tmp_path / "www" / "cifar-10-binary.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "src", "cifar-10-batches-bin")
        url = (tmp_path / "www" / "cifar-10-binary.tar.gz").as_uri()
        fake_published.change_source(monkeypatch, "cifar10", url=url)
        with pytest.raises(DataError, match="test_batch.bin .* does not have the published sha256"):
            fetch("cifar10", work_dir=tmp_path / "work")


def test_the_packaged_files_have_the_checksums_beside_them():
    folder = sources.PACKAGED / "mnist"
    for row in (folder / "SHA256SUMS").read_text().splitlines():
        digest, file = row.split()
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest
