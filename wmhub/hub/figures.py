"""The pictures of a model card, drawn from an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wmhub.hub.evaluation import Evaluation, Figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Most points of the scatter that are drawn, evenly taken.
_MOST_POINTS = 4000


class Picture(NamedTuple):
    """One picture of a card."""

    name: str
    """File name beside the card, ``pictures/MODEL-curve.png``."""
    title: str
    """A word or two."""
    caption: str
    """What it shows."""


_CAPTIONS = {
    "ranking": (
        "Ranking",
        "Held-out candidates: what the score says of the latency against what was measured",
    ),
    "curve": (
        "Search",
        "Best candidate found against measured trials, in searches over the held-out workloads' "
        "logs",
    ),
    "calibration": (
        "Calibration",
        "Error against the uncertainty that the model states; on the line it is right about itself",
    ),
}


def possible_pictures(model: str) -> dict[str, Picture]:
    """Every picture that a card of ``model`` may have: ``ranking``, ``curve``, ``calibration``."""
    return {
        kind: Picture(f"pictures/{model}-{kind}.png", title, caption)
        for kind, (title, caption) in _CAPTIONS.items()
    }


def pictures_of(figures: Figures, model: str) -> dict[str, Picture]:
    """Those that ``figures`` has the data for."""
    data = (figures.ranking, figures.curves, figures.calibration)
    possible = possible_pictures(model).items()
    return {kind: shown for (kind, shown), part in zip(possible, data, strict=True) if part}


def draw_pictures(evaluation: Evaluation, model: str, folder: Path) -> None:
    """Draws what the evaluation has the data for into ``folder``; the same data, the same bytes."""
    # The object interface: no global figure, no backend, nothing left behind.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    draw = {"ranking": _ranking, "curve": _curve, "calibration": _calibration}
    for kind, picture in pictures_of(evaluation.figures, model).items():
        figure = Figure(figsize=(6.4, 4.0), layout="constrained", dpi=120)
        FigureCanvasAgg(figure)
        draw[kind](figure.subplots(), evaluation.figures)
        path = folder / picture.name
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": None})


def _ranking(axes: Axes, figures: Figures) -> None:
    assert figures.ranking is not None
    predicted, measured = figures.ranking
    step = max(1, len(predicted) // _MOST_POINTS)
    lowest = min([*predicted, *measured], default=-1.0)
    axes.plot([lowest, 0], [lowest, 0], color="0.7", linewidth=1)
    axes.scatter(measured[::step], predicted[::step], s=9, alpha=0.4, linewidths=0)
    axes.set_xlabel("measured: ln(best latency of the workload / latency)")
    axes.set_ylabel("predicted score, less the highest")


def _curve(axes: Axes, figures: Figures) -> None:
    assert figures.curves is not None
    for name, values in figures.curves.items():
        axes.plot(range(1, len(values) + 1), list(values), label=name)
    axes.set_xlabel("measured trials")
    axes.set_ylabel("best of all / best found")
    axes.legend()


def _calibration(axes: Axes, figures: Figures) -> None:
    assert figures.calibration is not None
    stated, found = figures.calibration
    top = max([*stated, *found], default=1.0)
    axes.plot([0, top], [0, top], color="0.7", linewidth=1)
    axes.plot(list(stated), list(found), marker="o")
    axes.set_xlabel("stated standard deviation")
    axes.set_ylabel("root mean square error")
