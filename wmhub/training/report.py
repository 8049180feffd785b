"""The course of a training run, as a table and a picture beside the checkpoint."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from wmhub.training.metrics import Validation

CURVES, PICTURE = "training.csv", "training.png"


def write_curves(folder: Path, history: Sequence[Validation]) -> None:
    """Writes ``training.csv`` and ``training.png``."""
    columns = ("top1", "top5", "pairwise_accuracy", "spearman")
    with (folder / CURVES).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss", *(f"validation.{name}" for name in columns)])
        for looked in history:
            values = [getattr(looked.metrics, name) for name in columns]
            writer.writerow([looked.step, *(f"{v:.6f}" for v in (looked.loss, *values))])
    _draw(folder / PICTURE, history)


def _draw(path: Path, history: Sequence[Validation]) -> None:
    from matplotlib.figure import Figure

    steps = [looked.step for looked in history]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(steps, [looked.loss for looked in history], color="tab:gray")
    left.set(xlabel="step", ylabel="training loss")
    for name, label in (("top1", "top-1"), ("top5", "top-5"), ("pairwise_accuracy", "pairwise")):
        right.plot(steps, [getattr(looked.metrics, name) for looked in history], label=label)
    right.set(xlabel="step", ylabel="validation", ylim=(None, 1.0))
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
