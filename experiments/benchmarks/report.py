"""A case's figures as a Markdown table and as a bar chart."""

import datetime
import statistics
from pathlib import Path

from experiments.benchmarks.cases import Case
from rnnae.records import provenance

PRODUCTS = "matrix products alone"
_WIDE = 30  # ratio of speeds from which bars need a logarithmic axis


def where() -> str:
    """The processor, the commit and the day."""
    commit = provenance.commit() or "unknown"
    return f"{provenance.processor()}, commit {commit}, {datetime.date.today()}"


def table(case: Case, figures: dict, machine: str, allocator: str) -> str:
    """Medians over rounds with their range; `share` is what the step's matrix products take alone,
    at the same shapes and in the same run."""
    lines = [f"## {case.title}", ""]
    columns = ["", f"{case.unit} (min-max)", f"x {case.baseline}"]
    columns += [*(["GFLOP/s", "share"] if case.products else []), "memory", "first"]
    for size, by_precision in figures.items():
        lines += [f"**{size}**", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        for precision, contenders in by_precision.items():
            for name, found in contenders.items():
                lines.append(_row(case, size, precision, name, found, contenders))
        lines.append("")
    every = [
        found
        for by_precision in figures.values()
        for contenders in by_precision.values()
        for found in contenders.values()
    ]
    versions = {f"{k} {v}" for found in every for k, v in found.get("versions", {}).items()}
    rounds = max(len(found.get("seconds", ())) for found in every)
    lines.append(
        f"{machine}; {', '.join(sorted(versions))}; "
        f"allocator: {allocator}; medians of {rounds} rounds in turns, a process each. "
        "Memory: the most that the process took; first: seconds to build and compile and for the "
        "first steps."
    )
    return "\n".join(lines) + "\n"


def chart(case: Case, figures: dict, path: Path) -> None:
    """One panel for each size; bars from the least to the most."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.8 + 2.6 * len(figures)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(figures), 1, squeeze=False)[:, 0]
    for axes, (size, by_precision) in zip(panels, figures.items(), strict=True):
        bars = [
            (_label(name, precision), speeds(case, size, found))
            for precision, contenders in by_precision.items()
            for name, found in contenders.items()
            if found.get("seconds")
        ]
        if not bars:
            axes.set(title=f"{size}: nothing ran")
            continue
        names, values = [name for name, _ in bars], [value for _, value in bars]
        middle = [value[1] for value in values]
        reach = [
            [m - low for m, (low, _, _) in zip(middle, values, strict=True)],
            [high - m for m, (_, _, high) in zip(middle, values, strict=True)],
        ]
        colours = ["tab:blue" if name.startswith("rnnae") else "tab:gray" for name in names]
        axes.barh(names, middle, xerr=reach, color=colours)
        axes.invert_yaxis()
        axes.set(title=size if len(figures) > 1 else "", xlabel=case.unit)
        if max(middle) > _WIDE * min(middle):
            axes.set(xscale="log", xlabel=f"{case.unit}, logarithmic")
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(case.title)
    figure.savefig(path, dpi=110)


def speeds(case: Case, size: str, found: dict) -> tuple[float, float, float]:
    """(least, median, most) of a contender's rounds, in the case's unit."""
    batch = case.sizes[size]["batch"]
    seconds = found["seconds"]
    return batch / max(seconds), batch / statistics.median(seconds), batch / min(seconds)


def _row(case: Case, size: str, precision: str, name: str, found: dict, contenders: dict) -> str:
    label = _label(name, precision)
    if not found.get("seconds"):
        return f"| {label} | did not run: {found['error']} |"
    low, middle, high = speeds(case, size, found)
    digits = 0 if middle >= 10 else 2
    cells = [label, f"{middle:,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})"]
    base = contenders.get(case.baseline, {})
    times = middle / speeds(case, size, base)[1] if base.get("seconds") else None
    cells.append(f"{times:.2f}" if times and name not in (case.baseline, PRODUCTS) else "")
    if case.products:
        work = 3 * sum(2 * m * k * n * times for m, k, n, times in case.products(case.sizes[size]))
        cells.append(f"{work / statistics.median(found['seconds']) / 1e9:.0f}")
        alone = contenders[PRODUCTS].get("seconds")
        share = statistics.median(alone) / statistics.median(found["seconds"]) if alone else None
        cells.append(f"{100 * share:.0f} %" if share else "")
    cells += [f"{found['memory'] / 2**20:,.0f} MiB", f"{found['first']:.1f} s"]
    return f"| {' | '.join(cells)} |"


def _label(name: str, precision: str) -> str:
    return name if precision == "float32" else f"{name}, {precision}"
