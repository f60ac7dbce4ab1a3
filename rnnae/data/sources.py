"""How the published files of a data set are found, downloaded and verified.

`fetch_files` looks for every file of a `Source` below `source_dir`, then inside the package, and
downloads the files that it did not find. Wherever a file comes from, its uncompressed content must
have the published size and checksum. The sources themselves are part of `datasets.DATASETS`.
"""

import dataclasses
import gzip
import hashlib
import http.client
import sys
import tarfile
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from rnnae.errors import DataError, one_line

PACKAGED = Path(__file__).parent / "published_files"  # a folder for each data set that is included
CONNECT_SECONDS = 3.0  # longest wait for the first answer of a server, name lookup included
STALL_SECONDS = 30.0  # longest wait for the next bytes of a download
MAX_UNKNOWN_SIZE = 300_000_000  # bytes; limit for a file whose size is not published
# What Python's readers of files, gzip, tar and NumPy archives raise for damaged content.
_READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """The published files of one data set, and where they can be downloaded.

    Attributes:
        url: of the only file, or of an archive of all files, or of their folder, with a slash at
            the end.
        url_suffix: what follows the name of a file in its URL, such as .gz.
        files: for the name of each file its size in bytes (0 if it is not published) and its
            checksum as "algorithm:digest", both of the uncompressed content.
        subfolders: where other programs unpack these files below `source_dir`.
        archives: for the name of each archive that holds all files the function that reads it.
            It takes the path of the archive, the name of a file and a limit, and returns at most
            that number of bytes of the file.
        other_versions: files of which other versions are in use. A copy on disk may have another
            checksum, which prints a warning; its size is checked all the same.
    """

    url: str
    url_suffix: str = ""
    files: Mapping[str, tuple[int, str]]
    subfolders: tuple[str, ...] = ()
    archives: Mapping[str, Callable[[Path, str, int], bytes]] = dataclasses.field(
        default_factory=dict
    )
    other_versions: frozenset[str] = frozenset()


def fetch_files(
    name: str, source: Source, *, source_dir: str = "", work_dir: str | Path = "."
) -> dict[str, bytes]:
    """The verified, uncompressed content of every file of the data set `name`, by file name.

    A download is kept in a temporary folder inside `work_dir` until it has been read.

    Raises:
        DataError: a file is damaged or is not the published one, or cannot be downloaded.
    """
    folders = _folders(name, source, source_dir)
    found = {file: _find(source, file, folders) for file in source.files}
    missing = [file for file, path in found.items() if path is None]
    if not missing:
        return {file: _read_verified(source, file, path) for file, path in found.items()}
    if source.url.endswith("/"):
        urls = [f"{source.url}{file}{source.url_suffix}" for file in missing]
    else:
        urls = [source.url]
    Path(work_dir).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=work_dir) as temporary:
        for url in urls:
            try:
                _download(url, Path(temporary, url.rpartition("/")[2]))
            except (OSError, http.client.HTTPException) as error:
                where = (
                    f"not found in {source_dir}"
                    if source_dir
                    else "--config.data.source_dir is not set"
                )
                raise DataError(
                    f"{name} needs {', '.join(missing)} ({where}), and downloading {url} failed "
                    f"({_network_reason(error)}): download the missing files on a machine with a "
                    f"network and give their folder as --config.data.source_dir"
                ) from error
        found |= {file: _find(source, file, [Path(temporary)]) for file in missing}
        return {
            file: _read_verified(source, file, path, downloaded=file in missing)
            for file, path in found.items()
        }


def read_tar_gz(path: Path, file: str, limit: int) -> bytes:
    """At most `limit` bytes of `file` from a .tar.gz archive, in whatever folder it is there.

    Raises KeyError if the archive has no such file.
    """
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            if member.isfile() and Path(member.name).name == file:
                return archive.extractfile(member).read(limit)
    raise KeyError(f"the archive has no file {file}")


def _folders(name: str, source: Source, source_dir: str) -> list[Path]:
    """The folders to search, in this order: those named after the data set come first, because
    files of several data sets have the same names."""
    if not source_dir:
        return [PACKAGED / name]
    root = Path(source_dir).expanduser()
    if not root.is_dir():
        raise DataError(
            f"--config.data.source_dir={source_dir} is not a folder: give the folder with the "
            f"files of {name}, or leave it empty to download them"
        )
    return [*(root / folder for folder in source.subfolders), root, PACKAGED / name]


def _find(source: Source, file: str, folders: list[Path]) -> Path | None:
    """The first path that is the file, its gzip or an archive that holds it."""
    candidates = (
        folder / name for folder in folders for name in (file, f"{file}.gz", *source.archives)
    )
    return next((path for path in candidates if path.is_file()), None)


def _read_verified(source: Source, file: str, path: Path, downloaded: bool = False) -> bytes:
    """The uncompressed content of `file`, read from `path`: the file, its gzip or an archive."""
    size, checksum = source.files[file]
    remedy = f"download it again from {source.url}"
    try:
        with path.open("rb") as stream:
            start = stream.read(512).lstrip().lower()
        if start.startswith((b"<!doctype", b"<html", b"<?xml")):
            raise DataError(f"{path} is a web page, not {file}: {remedy}")
        # One byte more than the published size is enough to see that a file is too long.
        content = _read_content(source, file, path, (size or MAX_UNKNOWN_SIZE) + 1)
    except _READ_ERRORS as error:
        raise DataError(f"{path} is damaged or incomplete ({one_line(error)}): {remedy}") from error
    if size and len(content) != size:
        amount = f"{len(content):,}" if len(content) < size else f"more than {size:,}"
        raise DataError(f"{file} in {path} has {amount} bytes, not {size:,}: {remedy}")
    algorithm, _, digest = checksum.partition(":")
    if hashlib.new(algorithm, content, usedforsecurity=False).hexdigest() != digest:
        problem = f"{file} in {path} does not have the published {algorithm} checksum"
        if downloaded or file not in source.other_versions:
            raise DataError(f"{problem}: {remedy}")
        # The size is right, and the parser of the format checks the content.
        print(f"warning: {problem}; it is used as another version of it", file=sys.stderr)
    return content


def _read_content(source: Source, file: str, path: Path, limit: int) -> bytes:
    """At most `limit` bytes, so that a small compressed file cannot fill the memory."""
    if path.name in source.archives:
        return source.archives[path.name](path, file, limit)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as stream:
        return stream.read(limit)


def _download(url: str, path: Path) -> None:
    """Downloads `url` to `path` with a progress bar. Raises OSError or HTTPException."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    from rnnae.console import Console

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with (
        _connect(url) as answer,
        path.open("wb") as out,
        Progress(*columns, console=Console()) as progress,
    ):
        total = int(answer.headers.get("Content-Length") or 0) or None
        task = progress.add_task(path.name, total=total)
        while block := answer.read(1 << 16):
            out.write(block)
            progress.update(task, advance=len(block))
    if total and path.stat().st_size != total:
        raise OSError(f"the connection closed after {path.stat().st_size:,} of {total:,} bytes")


def _connect(url: str):
    """`urlopen` in a thread of its own, because the lookup of a server's name has no timeout."""
    result = []

    def connect():
        try:
            result.append(urllib.request.urlopen(url, timeout=STALL_SECONDS))
        except (OSError, http.client.HTTPException) as error:
            result.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    if not result:
        raise TimeoutError(f"no answer within {CONNECT_SECONDS:g} s")
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def _network_reason(error: Exception) -> str:
    """Why a download failed; a URLError only wraps the error that says so."""
    reason = error.reason if type(error) is urllib.error.URLError else error
    return one_line(reason) if isinstance(reason, Exception) else str(reason)
