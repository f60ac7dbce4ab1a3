"""The files that store the records of all runs of a table.

They are DIRECTORY/NAME-SIZE.json, one block per run and one line per record; NAME-SIZE.png, the
sample images of each row; and NAME-SIZE.npz, the value of each test image, by which differences
between rows are paired. They are under version control, so a report can be made again without the
runs. They contain no paths and no other setting of the machine, and the same runs give the same
bytes.
"""

import dataclasses
import io
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from experiments.records import RunRecords, damaged
from experiments.tables import Table, slug
from rnnae import files
from rnnae.errors import ConfigError

_LAYOUT = "rows"  # name of the text in the PNG that says where each row's image lies
_WHITE = 255
# What the readers of JSON, PNG and .npz raise for content that is not what was written.
_DAMAGE = (
    *(AttributeError, EOFError, LookupError, OSError, SyntaxError, TypeError, ValueError),
    *(zipfile.BadZipFile, zlib.error),
)


class TableFile:
    """The stored records of a table.

    Attributes:
      runs: (slug of the row's label, seed) -> its records.
      labels: slug -> label, of the rows that have records.
      pictures: (slug, seed) -> sample images of the run, see `read_picture`.
      scores: (slug, seed) -> the value of each test image, see `paired.read`.
    """

    def __init__(self, directory: Path, table: Table):
        """Reads the files of the table in `directory`, if there are any; ConfigError if damaged."""
        self.path = directory / f"{table.directory}.json"
        self._table = table
        self.runs: dict[tuple[str, int], RunRecords] = {}
        self.labels: dict[str, str] = {}
        self.pictures: dict[tuple[str, int], np.ndarray] = {}
        self.scores: dict[tuple[str, int], np.ndarray] = {}
        for path, read in (
            (self.path, self._read_runs),
            (self._png, self._read_pictures),
            (self._npz, self._read_scores),
        ):
            if path.exists():
                content = files.read_bytes(path)
                try:
                    read(content)
                except _DAMAGE as error:
                    raise damaged(path) from error

    @property
    def _png(self) -> Path:
        return self.path.with_suffix(".png")

    @property
    def _npz(self) -> Path:
        return self.path.with_suffix(".npz")

    def _read_runs(self, content: bytes) -> None:
        for block in files.parse_json(content)["runs"]:
            label, seed = block.pop("row"), block.pop("seed")
            source = f"row {label!r}, seed {seed}, in {self.path}"
            self.labels[slug(label)] = label
            self.runs[slug(label), seed] = RunRecords(source, **block)

    def _read_pictures(self, content: bytes) -> None:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            sheet, layout = np.asarray(image.convert("RGB")), image.text.get(_LAYOUT, "[]")
        for place in files.parse_json(layout):
            bottom = place["top"] + place["height"]
            picture = sheet[place["top"] : bottom, : place["width"]]
            self.pictures[slug(place["row"]), place["seed"]] = picture

    def _read_scores(self, content: bytes) -> None:
        with np.load(io.BytesIO(content)) as arrays:
            for name in arrays.files:
                row, _, seed = name.rpartition(" ")
                self.scores[row, int(seed)] = arrays[name]

    def forget(self, label: str) -> None:
        """Drops the records of a row; ConfigError if there are none."""
        if slug(label) not in self.labels:
            rows = ", ".join(map(repr, self.labels.values()))
            raise ConfigError(f"{self.path} has no row {label!r}; its rows: {rows}")
        del self.labels[slug(label)]
        self.runs = {key: records for key, records in self.runs.items() if key[0] in self.labels}

    def replace(
        self,
        runs: dict[tuple[str, int], RunRecords],
        pictures: dict[tuple[str, int], np.ndarray],
        scores: dict[tuple[str, int], np.ndarray],
    ) -> None:
        """Writes these runs, pictures and scores, by label and seed, in place of the present ones.
        Each of the files is replaced atomically."""
        blocks = []
        for (label, seed), records in runs.items():
            block = {"row": label, "seed": seed}
            for field in dataclasses.fields(records)[1:]:
                if value := getattr(records, field.name):
                    block[field.name] = value
            blocks.append(block)
        content = {"table": self._table.name, "size": self._table.size, "runs": blocks}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.replace_text(self.path, _to_json(content, levels=4) + "\n")
        arrays = {f"{slug(label)} {seed}": score_N for (label, seed), score_N in scores.items()}
        if arrays:
            files.replace_file(self._npz, lambda path: _save_arrays(path, arrays))
        else:
            self._npz.unlink(missing_ok=True)
        if not pictures:
            self._png.unlink(missing_ok=True)
            return
        width = max(picture.shape[1] for picture in pictures.values())
        strips, layout, top = [], [], 0
        for (label, seed), picture in pictures.items():
            height, own_width = picture.shape[:2]
            pad = ((0, 0), (0, width - own_width), (0, 0))
            strips.append(np.pad(picture, pad, constant_values=_WHITE))
            place = {"row": label, "seed": seed, "top": top, "height": height, "width": own_width}
            layout.append(place)
            top += height
        text = PngInfo()
        text.add_text(_LAYOUT, json.dumps(layout))
        sheet = Image.fromarray(np.concatenate(strips))
        save = {"format": "PNG", "pnginfo": text, "optimize": True}
        files.replace_file(self._png, lambda path: sheet.save(path, **save))


def _save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:  # np.savez would append .npz to the name
        np.savez_compressed(file, **arrays)


def _to_json(value, levels: int, indent: str = "") -> str:
    """JSON whose outer `levels` of objects and lists have a line per item; deeper ones are on the
    line of the item that contains them."""
    if not levels or not value or not isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    inner = indent + " "
    if isinstance(value, dict):
        items = [f"{json.dumps(k)}: {_to_json(v, levels - 1, inner)}" for k, v in value.items()]
    else:
        items = [_to_json(v, levels - 1, inner) for v in value]
    begin, end = "{}" if isinstance(value, dict) else "[]"
    lines = ",\n".join(inner + item for item in items)
    return f"{begin}\n{lines}\n{indent}{end}"
