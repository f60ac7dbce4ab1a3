import gzip
import hashlib
import tarfile
import time
import tracemalloc

import fake_published
import numpy as np
import pytest

from rnnae.data import parsers, sources
from rnnae.errors import DataError


@pytest.fixture
def no_network(monkeypatch):
    def refuse(address, timeout):
        raise OSError("no network in tests")

    monkeypatch.setattr(sources.urllib.request, "urlopen", refuse)


def line(error) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_packaged_mnist_is_the_published_one():
    files = sources.payloads("mnist")
    images = parsers.parse_idx(files["train-images-idx3-ubyte"])
    labels = parsers.parse_idx(files["t10k-labels-idx1-ubyte"])
    assert images.shape == (60_000, 28, 28, 1) and images.dtype == np.uint8
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]


@pytest.mark.parametrize("name", sources.PUBLISHED)
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("subfolder", [False, True])
def test_finds_files_flat_and_below_compressed_or_not(
    name, compress, subfolder, tmp_path, monkeypatch
):
    below = sources.PUBLISHED[name].subfolders[0] if subfolder else "."
    files = fake_published.install(monkeypatch, name, tmp_path / below, compress)
    assert sources.payloads(name, source_dir=str(tmp_path)) == files


def test_reads_packed_binarized_mnist(tmp_path, monkeypatch):
    files = fake_published.install(monkeypatch, "binarized_mnist", tmp_path / "text")
    splits = {f.removesuffix(".amat").rpartition("_")[2]: f for f in files}
    packed = {
        split: np.packbits(parsers.parse_amat(files[file]).reshape(-1, 784), axis=1)
        for split, file in splits.items()
    }
    np.savez(tmp_path / "binarized_mnist.npz", **packed)
    assert sources.payloads("binarized_mnist", source_dir=str(tmp_path)) == files


def test_reads_the_cifar_archive(tmp_path, monkeypatch):
    files = fake_published.install(monkeypatch, "cifar10", tmp_path / "src")
    (tmp_path / "out").mkdir()
    with tarfile.open(tmp_path / "out" / "cifar-10-binary.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "src", "cifar-10-batches-bin")
    assert sources.payloads("cifar10", source_dir=str(tmp_path / "out")) == files


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: b[:-100], "has .* bytes, not"),
        (lambda b: b + b"x", "has more than .* bytes"),
        (lambda b: b[:-1] + bytes([b[-1] ^ 1]), "has not the published sha256"),
        (lambda b: b"\n<!DOCTYPE html><title>Log in</title>", "is a web page"),
        (lambda b: b"", "has 0 bytes"),
    ],
)
def test_what_is_not_the_file_is_one_clear_line(damage, words, tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "mnist", tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=words) as error:
        sources.payloads("mnist", source_dir=str(tmp_path))
    assert str(path) in line(error) and "https://" in line(error)


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b"\x1f\x8b nonsense"])
def test_damaged_gzip_is_one_clear_line(damage, tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "fashion_mnist", tmp_path, compress=True)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="is damaged or cut short") as error:
        sources.payloads("fashion_mnist", source_dir=str(tmp_path))
    assert str(path) in line(error)


@pytest.mark.parametrize("name", ["cifar10", "binarized_mnist"])
def test_damaged_bundles_are_one_clear_line(name, tmp_path):
    (tmp_path / sources.PUBLISHED[name].bundles[0]).write_bytes(b"PK\x03\x04 or not")
    with pytest.raises(DataError, match="is damaged or cut short") as error:
        sources.payloads(name, source_dir=str(tmp_path))
    line(error)


def test_a_file_of_unpublished_size_has_a_limit_and_a_checksum(tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "omniglot_28", tmp_path)
    entry = sources.PUBLISHED["omniglot_28"]
    table = {file: (0, checksum) for file, (_, checksum) in entry.files.items()}
    monkeypatch.setitem(sources.PUBLISHED, "omniglot_28", entry._replace(files=table))
    path = tmp_path / "chardata.mat"
    payload = path.read_bytes()
    assert sources.payloads("omniglot_28", source_dir=str(tmp_path)) == {path.name: payload}
    monkeypatch.setattr(sources, "UNSIZED_BYTES", len(payload) - 2)
    with pytest.raises(DataError, match="has not the published sha256") as error:
        sources.payloads("omniglot_28", source_dir=str(tmp_path))
    assert str(path) in line(error)


def test_a_gzip_bomb_is_read_no_further_than_the_published_size(tmp_path, monkeypatch):
    files = fake_published.install(monkeypatch, "mnist", tmp_path, compress=True)
    name = "t10k-labels-idx1-ubyte"
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(files[name] + bytes(100_000_000)))
    tracemalloc.start()
    with pytest.raises(DataError, match="has more than 20 bytes"):
        sources.payloads("mnist", source_dir=str(tmp_path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_cifar_test_batch_may_be_in_another_order_and_train_may_not(tmp_path, monkeypatch, capsys):
    files = fake_published.install(monkeypatch, "cifar10", tmp_path)

    def reorder(file):
        records = np.frombuffer(files[file], np.uint8).reshape(-1, 3073)[::-1]
        (tmp_path / file).write_bytes(records.tobytes())

    reorder("test_batch.bin")
    assert set(sources.payloads("cifar10", source_dir=str(tmp_path))) == set(files)
    assert capsys.readouterr().err.count("not the published") == 1
    reorder("data_batch_2.bin")
    with pytest.raises(DataError, match="data_batch_2.bin .* not the published"):
        sources.payloads("cifar10", source_dir=str(tmp_path))


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "binarized_mnist", "omniglot_28"])
def test_no_files_and_no_network_names_files_address_and_flag(name, tmp_path, no_network):
    with pytest.raises(DataError) as error:
        sources.payloads(name, work_dir=tmp_path)
    for words in [*sources.PUBLISHED[name].files, "://", "--config.data.source_dir"]:
        assert words in line(error)
    assert list(tmp_path.iterdir()) == []


def test_a_silent_network_is_given_up_in_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(sources.urllib.request, "urlopen", lambda *a, **k: time.sleep(2))
    start = time.monotonic()
    with pytest.raises(DataError, match="no answer within 0.2 s"):
        sources.payloads("cifar10", work_dir=tmp_path)
    assert time.monotonic() - start < 1


def test_source_dir_that_is_no_folder(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        sources.payloads("mnist", source_dir=str(tmp_path / "nowhere"))


class TestDownload:
    """From a server that is a folder on this disk."""

    @pytest.fixture
    def server(self, tmp_path, monkeypatch):
        files = fake_published.install(monkeypatch, "fashion_mnist", tmp_path / "www", True)
        entry = sources.PUBLISHED["fashion_mnist"]
        entry = entry._replace(address=(tmp_path / "www").as_uri() + "/")
        monkeypatch.setitem(sources.PUBLISHED, "fashion_mnist", entry)
        return tmp_path / "www", files

    def test_gets_what_is_missing_and_leaves_nothing_behind(self, server, tmp_path, capsys):
        work = tmp_path / "work"
        assert sources.payloads("fashion_mnist", work_dir=work) == server[1]
        assert list(work.iterdir()) == []

    def test_gets_a_set_of_one_file(self, tmp_path, monkeypatch, capsys):
        files = fake_published.install(monkeypatch, "omniglot_28", tmp_path / "www")
        entry = sources.PUBLISHED["omniglot_28"]
        assert entry.address.endswith("/chardata.mat")
        entry = entry._replace(address=(tmp_path / "www" / "chardata.mat").as_uri())
        monkeypatch.setitem(sources.PUBLISHED, "omniglot_28", entry)
        assert sources.payloads("omniglot_28", work_dir=tmp_path / "work") == files

    def test_checks_what_it_got(self, server, tmp_path, capsys):
        path = server[0] / "train-labels-idx1-ubyte.gz"
        path.write_bytes(b"<html>Please accept our terms</html>")
        with pytest.raises(DataError, match="is a web page"):
            sources.payloads("fashion_mnist", work_dir=tmp_path / "work")
        path.unlink()
        with pytest.raises(DataError, match="could not be downloaded"):
            sources.payloads("fashion_mnist", work_dir=tmp_path / "work")


def test_packaged_checksums_match():
    folder = sources.Path(sources.__file__).parent / "published_files" / "mnist"
    for row in (folder / "SHA256SUMS").read_text().splitlines():
        digest, file = row.split()
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest
