from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

import yaml
from datasetmaking import Make
from huggingface_hub import DatasetCard
from logmaking import ansor_line

from wmhub.dataset.card import PICTURE, render_card
from wmhub.dataset.manifest import read_manifest
from wmhub.dataset.reader import open_dataset
from wmhub.dataset.statistics import statistics
from wmhub.records import Scheduler

GOLDEN = Path(__file__).with_name("card.golden.md")
LINES = [
    *(ansor_line(key='["conv2d_layer", 1]', seconds=[0.001 * n], timestamp=n) for n in (1, 2, 4)),
    *(ansor_line(key=f'["matmul", {n}]') for n in range(6)),
    ansor_line(key='["d7b65649a4dd54becea0a52aabbc5af5", 1]', seconds=[1e10], error=6),
    ansor_line(steps=[["NEW", 1]]),
    "half a li",
]


def test_golden(make: Make) -> None:
    """What people see; where the change is meant, write the text below into the golden file."""
    text = (make(lines=LINES) / "README.md").read_text()
    assert text == GOLDEN.read_text()


def test_the_hub_accepts_the_yaml(make: Make) -> None:
    folder = make(lines=LINES)
    card = DatasetCard.load(folder / "README.md")
    assert card.data.license == "mit"
    front = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    (config, workloads) = front["configs"]
    assert config["config_name"] == "cuda-v100"
    assert [item["split"] for item in config["data_files"]] == ["train", "validation", "test"]
    for item in config["data_files"]:
        assert list(folder.glob(item["path"]))
    assert list(folder.glob(workloads["data_files"]))


def test_the_picture_is_drawn_and_named_in_the_manifest(make: Make) -> None:
    folder = make(lines=LINES)
    head = (folder / PICTURE).read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:24]) == (1200, 340)
    assert PICTURE in [entry.name for entry in read_manifest(folder).files]


def test_a_dataset_without_profile_or_measured_record(make: Make) -> None:
    lines = [ansor_line(seconds=[1e10], error=2)]
    folder = make(lines=lines, hardware="opencl-nothing", licence="", contributor="")
    text = (folder / "README.md").read_text()
    assert "No profile of this device is known." in text
    assert "license: unknown" in text
    assert "1 failed (100.0 %)" in text


def test_a_contributor_cannot_write_markup_into_the_card(make: Make) -> None:
    lines = (
        (make(contributor="x | y <img src=z>}\n```\n# pwn") / "README.md").read_text().splitlines()
    )
    (row,) = [line for line in lines if "img" in line and line.startswith("|")]
    assert row.startswith("| x \\| y \\<img src=z\\>} \\`\\`\\` \\# pwn | MIT |")
    assert "  author = {x | y <img src=z>  # pwn}," in lines
    assert sum(line.startswith("```") for line in lines) % 2 == 0


def test_nor_can_a_log_or_a_profile(make: Make) -> None:
    folder = make(lines=[*LINES, ansor_line(steps=[["x` | <b>\n# pwn", 1]])])
    text = (folder / "README.md").read_text()
    assert "| records with the unknown action x\\` \\| \\<b\\> \\# pwn | 1 |\n" in text
    dataset = open_dataset(folder)
    assert dataset.manifest.profile is not None
    profile = dataclasses.replace(dataset.manifest.profile, name="<img>\n# pwn", origin="a | b")
    hostile = dataclasses.replace(dataset.manifest, profile=profile, collector="`\n# c")
    text = render_card(hostile, statistics(dataset), Scheduler.AUTO_SCHEDULER)
    assert text.count("\\<img\\> \\# pwn") == 2
    assert "| numbers from | a \\| b |" in text
    assert "Written by \\` \\# c." in text


def test_several_licences(make: Make, tmp_path: Path) -> None:
    from wmhub.dataset.rewrite import merge

    other = make("other", licence="Apache-2.0")
    merge([make("one", LINES), other], tmp_path / "both")
    assert DatasetCard.load(tmp_path / "both/README.md").data.license == ["apache-2.0", "mit"]
