"""The dataset card, which is also the Hub's README: rendered from the data, never typed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from wmhub.dataset.manifest import Manifest
from wmhub.dataset.splits import SPLITS
from wmhub.dataset.statistics import LATENCY_BORDERS, RATIO_BORDERS, Statistics
from wmhub.markdown import card_templates
from wmhub.records import Scheduler
from wmhub.units import show_bytes, show_seconds

CARD = "README.md"
PICTURE = "overview.png"

_SIZES = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")]


def render_card(manifest: Manifest, statistics: Statistics, scheduler: Scheduler) -> str:
    """The card as Markdown with the Hub's YAML at its head; ``scheduler`` wrote the records."""
    templates = card_templates("wmhub.dataset")
    templates.filters.update(seconds=show_seconds, bytes=show_bytes)
    return templates.get_template("card.md.jinja").render(
        front=front_matter(manifest),
        m=manifest,
        s=statistics,
        scheduler=scheduler,
        splits=SPLITS,
        picture=PICTURE,
    )


def front_matter(manifest: Manifest) -> str:
    """The card's YAML: licence, tags, size, and one config for the hardware."""
    records = manifest.counts.records
    size = next((name for most, name in _SIZES if records < most), "1M<n<10M")
    splits = [split for split in SPLITS if manifest.splits[split].records]
    value = {
        "pretty_name": f"TVM schedule trajectories on {manifest.name}",
        "license": _hub_licences(list(manifest.licences)),
        "tags": ["tvm", "wmhub", "auto-scheduler", "compiler", "world-model", manifest.name],
        "size_categories": [size],
        "configs": [
            {
                "config_name": str(manifest.hardware),
                "default": True,
                "data_files": [
                    {"split": split, "path": f"trajectories-{split}-*.parquet"} for split in splits
                ],
            },
            {"config_name": "workloads", "data_files": "workloads-*.parquet"},
        ],
    }
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def draw_picture(path: Path, statistics: Statistics) -> None:
    """Three panels: latencies, best/latency, records by operator."""
    # The object interface: pyplot would keep state and look for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    figure = Figure(figsize=(12, 3.4))
    FigureCanvasAgg(figure)
    # Fixed places: finding them by drawing takes as long as ten thousand records.
    latency, ratio, operators = (
        figure.add_axes((left, 0.17, width, 0.78))
        for left, width in ((0.06, 0.26), (0.385, 0.26), (0.81, 0.17))
    )
    for axes, borders, counts, label in (
        (latency, 10**LATENCY_BORDERS, statistics.latency_histogram, "latency (s)"),
        (ratio, RATIO_BORDERS, statistics.ratio_histogram, "best latency of workload / latency"),
    ):
        axes.stairs(counts, borders, fill=True, color="#4477aa")
        axes.set_xlabel(label)
        axes.set_ylabel("measured records")
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    latency.set_xscale("log")
    seen = statistics.latency_histogram.nonzero()[0]
    if len(seen):
        latency.set_xlim(10 ** LATENCY_BORDERS[seen[0]], 10 ** LATENCY_BORDERS[seen[-1] + 1])
    shown = statistics.operators[:10][::-1]
    names = [item.kind for item in shown]
    operators.barh(names, [item.records - item.failed for item in shown], color="#4477aa")
    left = [item.records - item.failed for item in shown]
    operators.barh(names, [item.failed for item in shown], left=left, color="#cc6677")
    operators.set_xlabel("records (red: failed)")
    operators.xaxis.set_major_formatter(EngFormatter(sep=""))
    operators.xaxis.set_major_locator(MaxNLocator(4))
    figure.savefig(path, dpi=100, metadata={"Software": None})


def _hub_licences(licences: Sequence[str]) -> str | list[str]:
    """The Hub writes SPDX identifiers in lower case."""
    names = sorted({licence.lower() or "unknown" for licence in licences}) or ["unknown"]
    return names[0] if len(names) == 1 else names
