"""Writes ablation tables from their finished runs, as Markdown, CSV, LaTeX and a plot.

    python -m experiments.report cells [--size cpu] [--root runs/tables] [--out experiments/results]
                                       [--forget ROW ...]
    python -m experiments.report all --size cpu
    python -m experiments.report --html [--out experiments/results]

Writes NAME.md, .csv, .tex and .png for the small size, and NAME-full.md and so on for the full
size. All numbers are read from the runs, and the same runs give the same files byte for byte. The
records of the runs are stored in OUT/records. Runs that are not below the root are read from there.
So a table can be made again without its runs. It can also grow by rows and seeds that are trained
later or elsewhere. `--forget` drops the stored records of a row that the table no longer has. Rows
of other libraries' models come from OUT/records, too (`experiments.peers`).

`all` are the tables of this size that have finished runs or stored records.

Then it writes the index of all tables in OUT, README.md: the question, the answer and the time of
each. `--index` writes the index only. `--html` writes index.html: one page with all tables and
their plots, which needs no other file.

A number is the mean over seeds with its standard error. With a single seed it is marked *, and the
error is over test images. The best number of a column is bold if it is better than every other row
by a paired t test over the seeds that both rows have (two-sided, 5 %). Images/s are of the process
that trained the row, which on accelerators trains all seeds together.

Exit codes: 0 done, 1 there is nothing to report, 2 a flag is wrong or a run belongs to another
version of the table, 7 a file cannot be read or written.
"""

import dataclasses
import sys
from pathlib import Path

from experiments import formats, index, peer_rows, plots, run, tables
from experiments import results as results_lib
from experiments.table_file import TableFile
from experiments.tables import Table
from rnnae import command, files

RESULTS = Path(__file__).parent / "results"


def main(argv: list[str] | None = None) -> int:
    parser = tables.argument_parser("report", __doc__, needs_table=False)
    root_help = "directory of all runs (default: %(default)s)"
    parser.add_argument("--root", type=files.expand, default=run.ROOT, help=root_help)
    out_help = "directory of the table's files (default: %(default)s)"
    parser.add_argument("--out", type=files.expand, default=RESULTS, help=out_help)
    forget_help = "drop the stored records of this row; may be repeated"
    parser.add_argument("--forget", action="append", default=[], metavar="ROW", help=forget_help)
    index_help = "write the index of all tables only: OUT/README.md"
    parser.add_argument("--index", action="store_true", help=index_help)
    html_help = "write one HTML page of all tables: OUT/index.html"
    parser.add_argument("--html", action="store_true", help=html_help)
    arguments = parser.parse_args(argv)
    if bool(arguments.tables) == (arguments.index or arguments.html):
        parser.error("name a table, or give --index or --html")
    if arguments.forget and (len(arguments.tables) != 1 or "all" in arguments.tables):
        parser.error("--forget goes with one table")
    out, root = arguments.out, arguments.root
    if not arguments.tables:
        return write_all(out, arguments.index, arguments.html)
    status = []
    for table in tables.load_each(arguments.tables, arguments.size):
        stored = TableFile(out / "records", table)
        for label in arguments.forget:
            stored.forget(label)
        if "all" in arguments.tables and not (stored.runs or (root / table.directory).exists()):
            continue
        status.append(write(table, root, out, stored))
    if not status:
        size = f"of size {arguments.size}"
        return _nothing(f"no table {size} has a run below {root} or records in {out / 'records'}")
    return max(status)


def write(table: Table, root: Path, out: Path, stored: TableFile) -> int:
    """Writes the files of a table to `out`, stores the records, and returns the exit code."""
    table, finished = results_lib.find(table, root, stored)
    results = results_lib.collect(table, finished)
    if not results:
        return _nothing(_why_no_run(table, root, stored))
    peers = peer_rows.load(table, stored.path.parent)
    published = {heading for values, _ in table.literature.values() for heading in values}
    metrics = {
        heading: names
        for heading, names in table.metrics.items()
        if heading in published or any(r.values(names) for r in [*results, *peers.results])
    }
    bold = tuple(heading for heading in table.bold if heading in metrics)
    table = dataclasses.replace(table, metrics=metrics, bold=bold)
    for line in results_lib.store(finished, stored):
        print(line, file=sys.stderr)
    texts = {
        "md": formats.markdown(table, results, peers),
        "csv": formats.comma_separated(results, peers),
        "tex": formats.latex(table, results, peers),
    }
    for suffix, text in texts.items():
        files.replace_text(out / f"{table.stem}.{suffix}", text)
    files.replace_file(out / f"{table.stem}.png", lambda path: plots.draw(table, results, path))
    index.write_index(out)  # before printing, which fails if nobody reads the output any more
    print(texts["md"])
    return 0


def write_all(out: Path, of_index: bool, of_page: bool) -> int:
    """Writes the index or the page of all tables in `out`, or both, and returns the exit code."""
    if not index.with_results(out):
        return _nothing(f"no table has results in {out}")
    if of_index:
        index.write_index(out)
        print(f"index in {out / index.INDEX}")
    if of_page:
        index.write_page(out)
        print(f"page in {out / index.PAGE}")
    return 0


def _nothing(why: str) -> int:
    """Says why there is nothing to report, and returns the exit code."""
    print(f"experiments.report: {why}", file=sys.stderr)
    return 1


def _why_no_run(table: Table, root: Path, stored: TableFile) -> str:
    """What to say if a table has no finished run."""
    (size,) = {*tables.SIZES} - {table.size}
    other = dataclasses.replace(table, size=size).directory
    exists = stored.path.with_name(f"{other}.json").exists()
    hint = f"; there is {other}: --size {size}" if exists else ""
    return f"no finished run of {table.directory} below {root} or in {stored.path}{hint}"


if __name__ == "__main__":
    sys.exit(command.execute(main, "experiments.report"))
