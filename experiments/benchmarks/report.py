"""The measurements of a case as a Markdown table and as a bar chart."""

import datetime
import statistics
from pathlib import Path

from experiments.benchmarks.cases import Case
from rnnae.records import provenance

MATMULS = "matrix products alone"  # the name of this contender
_LOG_FROM = 30  # ratio of speeds from which the axis is logarithmic


def provenance_text() -> str:
    """Processor, commit and date of a measurement."""
    commit = provenance.commit() or "unknown"
    return f"{provenance.processor()}, commit {commit}, {datetime.date.today()}"


def table(case: Case, measurements: dict, machine: str, allocator: str) -> str:
    """Markdown with the median and the range over rounds of each contender.

    `share` is the time of the step's matrix products alone, at the same shapes and in the same run,
    as a fraction of the time of the step.
    """
    lines = [f"## {case.title}", ""]
    columns = ["", f"{case.unit} (min-max)", f"x {case.baseline}"]
    columns += [*(["GFLOP/s", "share"] if case.matmuls else []), "memory", "first"]
    for size, by_precision in measurements.items():
        lines += [f"**{size}**", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        for precision, contenders in by_precision.items():
            for name, result in contenders.items():
                lines.append(_row(case, size, precision, name, result, contenders))
        lines.append("")
    results = [
        result
        for by_precision in measurements.values()
        for contenders in by_precision.values()
        for result in contenders.values()
    ]
    versions = {f"{k} {v}" for result in results for k, v in result.get("versions", {}).items()}
    rounds = max(len(result.get("seconds", ())) for result in results)
    lines.append(
        f"{machine}; {', '.join(sorted(versions))}; "
        f"allocator: {allocator}. Medians of {rounds} rounds in which the contenders take turns, "
        "each in its own process. Memory: the peak of the process. First: seconds to build, to "
        "compile and to run the first steps."
    )
    return "\n".join(lines) + "\n"


def chart(case: Case, measurements: dict, path: Path) -> None:
    """Writes a PNG with one panel per size: a bar for the median speed of each contender, with the
    range over rounds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.8 + 2.6 * len(measurements)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(measurements), 1, squeeze=False)[:, 0]
    for axes, (size, by_precision) in zip(panels, measurements.items(), strict=True):
        bars = [
            (_label(name, precision), speeds(case, size, result))
            for precision, contenders in by_precision.items()
            for name, result in contenders.items()
            if result.get("seconds")
        ]
        if not bars:
            axes.set(title=f"{size}: nothing ran")
            continue
        names, values = [name for name, _ in bars], [value for _, value in bars]
        medians = [value[1] for value in values]
        ranges = [
            [median - low for low, median, _ in values],
            [high - median for _, median, high in values],
        ]
        colours = ["tab:blue" if name.startswith("rnnae") else "tab:gray" for name in names]
        axes.barh(names, medians, xerr=ranges, color=colours)
        axes.invert_yaxis()
        axes.set(title=size if len(measurements) > 1 else "", xlabel=case.unit)
        if max(medians) > _LOG_FROM * min(medians):
            axes.set(xscale="log", xlabel=f"{case.unit}, logarithmic")
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(case.title)
    figure.savefig(path, dpi=110)


def speeds(case: Case, size: str, result: dict) -> tuple[float, float, float]:
    """(lowest, median, highest) speed of a contender over its rounds, in `case.unit`."""
    batch = case.sizes[size]["batch"]
    seconds = result["seconds"]
    return batch / max(seconds), batch / statistics.median(seconds), batch / min(seconds)


def _row(case: Case, size: str, precision: str, name: str, result: dict, contenders: dict) -> str:
    label = _label(name, precision)
    if not result.get("seconds"):
        return f"| {label} | did not run: {result['error']} |"
    low, median, high = speeds(case, size, result)
    digits = 0 if median >= 10 else 2
    cells = [label, f"{median:,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})"]
    base = contenders.get(case.baseline, {})
    ratio = median / speeds(case, size, base)[1] if base.get("seconds") else None
    cells.append(f"{ratio:.2f}" if ratio and name not in (case.baseline, MATMULS) else "")
    if case.matmuls:
        matmuls = case.matmuls(case.sizes[size])
        flop = 3 * sum(2 * m * k * n * count for m, k, n, count in matmuls)
        seconds = statistics.median(result["seconds"])
        cells.append(f"{flop / seconds / 1e9:.0f}")
        alone = contenders[MATMULS].get("seconds")
        share = statistics.median(alone) / seconds if alone else None
        cells.append(f"{100 * share:.0f} %" if share else "")
    cells += [f"{result['memory'] / 2**20:,.0f} MiB", f"{result['first']:.1f} s"]
    return f"| {' | '.join(cells)} |"


def _label(name: str, precision: str) -> str:
    return name if precision == "float32" else f"{name}, {precision}"
