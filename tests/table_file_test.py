"""Stored records of a table, and pictures of a run, that are damaged."""

import io

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from experiments import records, table_file, tables
from rnnae.errors import ConfigError


def _png(layout: str) -> bytes:
    """A white PNG with this text for where the pictures of the rows lie in it."""
    text, content = PngInfo(), io.BytesIO()
    text.add_text(table_file._LAYOUT, layout)
    Image.new("RGB", (9, 9)).save(content, "PNG", pnginfo=text)
    return content.getvalue()


@pytest.mark.parametrize(
    "suffix, content",
    [
        *(("json", form.encode()) for form in ("", "[]", '{"runs": 5}', '{"runs": [{}]}', "\xff")),
        *(("png", _png(text)) for text in ("", "5", "[5]", '[{"row": "a"}]', "[" * 5000)),
        *(("png", content) for content in (b"", b"GIF8", _png("[]")[:-30])),
        *(("npz", content) for content in (b"", b"PK\3\4", b"x")),
    ],
)
def test_damaged_records_are_refused_in_one_line(suffix, content, tmp_path):
    (tmp_path / f"data-cpu.{suffix}").write_bytes(content)
    with pytest.raises(ConfigError, match=f"data-cpu.{suffix} is damaged: restore it"):
        table_file.TableFile(tmp_path, tables.load("data", "cpu"))


def test_a_damaged_picture_of_a_run_is_refused_in_one_line(tmp_path):
    picture = tmp_path / "pictures" / "generated.png"
    picture.parent.mkdir()
    picture.write_bytes(_png("[]")[:-30])
    with pytest.raises(ConfigError, match="generated.png is damaged: restore it"):
        records.read_picture(tmp_path)
