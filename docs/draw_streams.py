"""Draws docs/streams.png: the sweeps of the encoder and of the two streams of the decoder.

    python docs/draw_streams.py

The picture shows what `rnnae/models/sweep_decoder.py` computes, on a small grid of
tokens.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

ROWS, COLUMNS = 5, 6  # tokens
ROW, COLUMN = 3, 3  # the token that is predicted

GREEN, BLUE, ORANGE, DARK = "#2a7f62", "#1f5fa8", "#c8641b", "#20262e"
PALE_GREEN, PALE_BLUE, PALE_ORANGE, PALE_GREY = "#d5ece2", "#d3e3f5", "#fbdcc0", "#eff0f2"
GREY = "#5c6670"


def grid(axes: Axes, title: str, caption: str, colour_of) -> None:
    """A grid of tokens. `colour_of(row, column)` is the colour of a token."""
    for row in range(ROWS):
        for column in range(COLUMNS):
            axes.add_patch(
                FancyBboxPatch(
                    (column + 0.06, row + 0.06),
                    0.88,
                    0.88,
                    boxstyle="round,pad=0,rounding_size=0.12",
                    facecolor=colour_of(row, column),
                    edgecolor="none",
                )
            )
    axes.set(xlim=(-0.15, COLUMNS + 0.15), ylim=(ROWS + 0.15, -0.15), aspect="equal")
    axes.axis("off")
    axes.set_title(title, fontsize=16, color=DARK, pad=7)
    middle = COLUMNS / 2
    axes.text(middle, ROWS + 0.22, caption, fontsize=14, color=GREY, ha="center", va="top")


def arrow(axes: Axes, start, end, colour: str, both: bool = False, width: float = 2.2) -> None:
    """An arrow between two (x, y) points, measured in tokens."""
    style = "<|-|>" if both else "-|>"
    axes.annotate(
        "",
        xy=end,
        xytext=start,
        arrowprops={
            "arrowstyle": f"{style},head_width=0.28,head_length=0.55",
            "color": colour,
            "linewidth": width,
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )


def target(axes: Axes) -> None:
    """The token that is predicted."""
    axes.add_patch(
        FancyBboxPatch(
            (COLUMN + 0.06, ROW + 0.06),
            0.88,
            0.88,
            boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=DARK,
            edgecolor="none",
            zorder=3,
        )
    )
    style = {"fontsize": 21, "ha": "center", "va": "center", "zorder": 4}
    axes.text(COLUMN + 0.5, ROW + 0.52, "?", color="white", weight="bold", **style)


def encoder(first: Axes, second: Axes) -> None:
    """A block of the encoder: the whole image is known, so all sweeps go both ways."""
    grid(first, "1. across, both ways", "along every row", lambda *_: PALE_GREEN)
    grid(second, "2. down and up", "along every column", lambda *_: PALE_GREEN)
    for row in range(ROWS):
        arrow(first, (0.2, row + 0.5), (COLUMNS - 0.2, row + 0.5), GREEN, both=True)
    for column in range(COLUMNS):
        arrow(second, (column + 0.5, 0.2), (column + 0.5, ROWS - 0.2), GREEN, both=True)


def above(row: int, column: int) -> str:
    del column
    return PALE_BLUE if row < ROW else PALE_GREY


def vertical(first: Axes, second: Axes) -> None:
    """A block of the vertical stream: the rows above are known as a whole."""
    grid(first, "1. across, both ways", "along every row above", above)
    grid(second, "2. down", "every column, to the row of the token", above)
    for row in range(ROW):
        arrow(first, (0.2, row + 0.5), (COLUMNS - 0.2, row + 0.5), BLUE, both=True)
    for column in range(COLUMNS):
        arrow(second, (column + 0.5, 0.2), (column + 0.5, ROW + 0.05), BLUE)
    target(first)
    target(second)


def before(row: int, column: int) -> str:
    return PALE_ORANGE if row == ROW and column < COLUMN else above(row, column)


def horizontal(first: Axes, second: Axes) -> None:
    """A block of the horizontal stream, and what a token sees in the end."""
    grid(first, "3. across, to the right", "receives the vertical stream at every token", before)
    for column in range(COLUMN + 1):
        arrow(first, (column + 0.5, ROW - 0.68), (column + 0.5, ROW + 0.05), BLUE)
    arrow(first, (0.2, ROW + 0.5), (COLUMN + 0.05, ROW + 0.5), ORANGE)
    target(first)
    grid(second, "What the token sees", "all rows above, and all tokens to its left", before)
    target(second)


def main() -> None:
    plt.rcParams["font.family"] = "DejaVu Sans"
    figure = plt.figure(figsize=(16, 10.2), dpi=100, facecolor="white")
    columns = [
        ("Encoder", GREEN, encoder),
        ("Decoder: vertical stream", BLUE, vertical),
        ("Decoder: horizontal stream", ORANGE, horizontal),
    ]
    left, width, gap = 0.018, 0.308, 0.020
    for index, (title, colour, draw) in enumerate(columns):
        x = left + index * (width + gap)
        panel = FancyBboxPatch(
            (x, 0.065),
            width,
            0.91,
            boxstyle="round,pad=0,rounding_size=0.012",
            transform=figure.transFigure,
            facecolor="white",
            edgecolor=colour,
            linewidth=1.8,
            zorder=-1,
        )
        figure.add_artist(panel)
        figure.text(
            x + width / 2, 0.945, title, fontsize=19, weight="bold", color=colour, ha="center",
            va="center",
        )  # fmt: skip
        axes = [
            figure.add_axes((x + 0.022, bottom, width - 0.044, 0.36)) for bottom in (0.525, 0.105)
        ]
        draw(*axes)
    figure.text(
        0.5,
        0.030,
        "Each square is a token (2 x 2 pixels for MNIST). Each long arrow is a sweep, a gated "
        "recurrence. Its output is added to its input. An MLP ends the block.",
        fontsize=14,
        color=DARK,
        ha="center",
        va="center",
    )
    figure.savefig(Path(__file__).with_name("streams.png"), metadata={"Software": None})


if __name__ == "__main__":
    main()
