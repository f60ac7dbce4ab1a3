"""The index and the page of all tables."""

import re

import pytest

from experiments import index, report, run
from tests import inert

COMMITTED = [table for table, _ in index.with_results(report.RESULTS)]


def test_a_report_is_listed_with_its_answer_and_time(plant, tmp_path, capsys):
    argv = plant(SEEDS=(0,), ANSWER="Yes | no.")
    assert run.main([*argv, "--row", "narrow", "--seeds", "1"]) == 0
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "README.md").read_text()
    link = "[widths-full](widths-full.md)"
    row = f"| {link} | Widths: does it help? | Yes \\| no. | full | 1 to 2 | 3.0 |"
    assert row in text.splitlines() and "Not run yet" not in text


def test_a_page_of_all_tables_is_inert_and_the_same_twice(plant, tmp_path, capsys):
    label = "<script>alert(1)</script> ![x](http://example.org)"
    argv = plant(SEEDS=(0,), ROWS={label: {}}, ANSWER="Yes <b>.")
    out = tmp_path / "out"
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(out)]) == 0
    before = (out / "README.md").read_bytes()
    assert report.main(["--html", "--index", "--out", str(out)]) == 0
    page = (out / "index.html").read_bytes()
    text = inert.check(page.decode())
    assert label in text and text.count("Widths: does it help? (full size)") == 2
    assert text.count("Yes <b>.") == 2 and b"data:image/png" in page
    assert report.main(["--html", "--out", str(out)]) == 0
    assert (out / "index.html").read_bytes() == page
    assert (out / "README.md").read_bytes() == before


def test_a_page_needs_results_and_a_table_is_one_or_all(plant, tmp_path, capsys):
    plant()
    assert report.main(["--html", "--out", str(tmp_path)]) == 1
    assert "no table has results in" in capsys.readouterr().err
    for wrong in ([], ["widths", "--html"], ["--index", "--forget", "narrow"]):
        with pytest.raises(SystemExit, match="2"):
            report.main(wrong)
    assert not list(tmp_path.glob("*.html")) and not (tmp_path / "README.md").exists()


def test_a_table_without_its_records_counts_as_not_run(plant, tmp_path, capsys):
    argv, out = plant(SEEDS=(0,)), tmp_path / "out"
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(out)]) == 0
    (out / "records" / "widths-full.json").unlink()
    index.write_index(out)
    assert "Not run yet: `widths`." in (out / "README.md").read_text()
    assert report.main(["--index", "--out", str(out)]) == 1
    assert "no table has results in" in capsys.readouterr().err


def test_the_committed_index_is_that_of_the_committed_tables(tmp_path):
    committed = (report.RESULTS / "README.md").read_text()
    for path in report.RESULTS.glob("*"):
        if path.name != "README.md":
            (tmp_path / path.name).symlink_to(path)
    index.write_index(tmp_path)
    assert (tmp_path / "README.md").read_text() == committed


@pytest.mark.parametrize("table", COMMITTED, ids=[table.stem for table in COMMITTED])
def test_an_answer_has_the_numbers_of_its_table(table):
    text = (report.RESULTS / f"{table.stem}.md").read_text()
    there = [float(number) for number in re.findall(r"(?<![\w.])\d+\.\d+", text)]
    numbers = list(re.finditer(r"\d+\.(\d+)", table.answer))
    assert numbers, "an answer has numbers"
    for match in numbers:
        half = 0.5000001 * 10.0 ** -len(match[1])  # of the last digit
        assert any(abs(float(match[0]) - x) <= half for x in there), match[0]


def test_every_table_that_was_run_has_an_answer_of_one_sentence():
    for table in COMMITTED:
        assert table.answer.endswith(".") and not re.search(r"\. [A-Z]", table.answer), table.name
