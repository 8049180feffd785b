"""What others named and said is shown as it is: no markup of rich, no escape of the terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from rich.console import Console
from test_cli import LINE, run

from wmhub.cli._listing import print_listing
from wmhub.cli._show import show_facts, show_line, show_note, show_table
from wmhub.cli.progress import finish, live_table, print_result
from wmhub.dataset.version import Version
from wmhub.hub.listing import Listed, Listing
from wmhub.names import HardwareKey
from wmhub.search.history import TuneProgress
from wmhub.search.result import NetworkResult, TaskResult, Trial, TuneResult

HOSTILE = "[/x][bold]\x1b[2J"
SHOWN = r"[/x][bold]\x1b[2J"


@pytest.mark.parametrize(
    "show",
    [
        lambda: show_facts(HOSTILE, [("name", HOSTILE)]),
        lambda: show_facts("title", [(HOSTILE, "value"), ("name", HOSTILE)]),
        lambda: show_table("title", ["", HOSTILE], [["", HOSTILE]]),
        lambda: show_note("note", HOSTILE + HOSTILE),
        lambda: show_line(HOSTILE + HOSTILE),
    ],
)
def test_words_of_others_are_no_markup_and_no_escapes(
    show: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    show()
    err = capsys.readouterr().err
    assert err.count(SHOWN) == 2
    assert "\x1b" not in err


def test_a_contributor_with_markup_in_the_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.log").write_text(LINE + "\n")
    output = tmp_path / "[/x]"
    options = ["--hardware", "cuda-v100", "--contributor", HOSTILE, "--output", str(output)]
    code, _, err = run(capsys, "collect", str(tmp_path / "a.log"), *options)
    assert (code, "[/x]" in err) == (0, True)
    for verb in ("info", "verify"):
        code, _, err = run(capsys, "dataset", verb, str(output))
        assert (code, "[/x]" in err, "\x1b" in err) == (0, True, False)
    code, _, err = run(capsys, "dataset", "card", str(output))
    assert (code, "[/x]" in err) == (0, True)


def test_a_listing_of_hostile_models(capsys: pytest.CaptureFixture[str]) -> None:
    key = HardwareKey.parse("cuda-v100")
    versions = Version(1, 0, 0), Version(1, 1, 0)
    row = Listed(HOSTILE, ("hf-hub",), *versions, (key,), 1, HOSTILE, True, HOSTILE)
    print_listing("models", Listing(key, (row,), (HOSTILE,)), as_json=False)
    err = capsys.readouterr().err
    assert "".join(err.split()).count(SHOWN) == 6
    assert "\x1b" not in err


def test_tasks_and_notes_of_a_tuning_run(capsys: pytest.CaptureFixture[str]) -> None:
    trial = Trial(HOSTILE, 1e-3, 1.0, None)
    screen = Console(stderr=True, width=200)
    with live_table(screen, 1) as show:
        show(TuneProgress(HOSTILE, (trial,), 1.0))
    path = Path(HOSTILE)
    task = TaskResult(HOSTILE, 1, 1, 0, 1e-3, None, None, None, path, None)
    names = (HOSTILE, HOSTILE, HOSTILE, HOSTILE, (HOSTILE,), "latent")
    numbers = (1, 0, 1.0, False, 1e-3)
    print_result(screen, TuneResult(*names, *numbers, (task,), (trial,), path, (HOSTILE,)))
    err = capsys.readouterr().err
    # A line while it works; task, hardware, model, note, schedule and folder.
    assert err.count(SHOWN) == 7
    assert "\x1b" not in err


def test_a_path_is_never_broken(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("/a/long/way/to/the/folder") / ("x" * 100)
    task = TaskResult("t", 1, 1, 0, 1e-3, None, None, None, path / "t.py", None)
    names, numbers = ("w", "m", "h", "h", ("h",), "latent"), (1, 0, 1.0, False, 1e-3)
    result = TuneResult(*names, *numbers, (task,), (), path, (f"at {path}",))
    print_result(Console(stderr=True, width=40), result, f"plot: {path}/p.png")
    lines = capsys.readouterr().err.splitlines()
    for line in (f"schedule: {path}/t.py", f"note: at {path}", f"plot: {path}/p.png"):
        assert line in lines
    assert lines[-1] == f"everything else: {path}/"


def test_of_a_network_it_is_the_whole_that_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("/out")
    task = TaskResult("t", 1, 1, 0, 1e-3, None, None, None, path / "t.py", None)
    names, numbers = ("w", "m", "h", "h", ("h",), "latent"), (1, 0, 1.0, False, 1e-3)
    networks = (
        NetworkResult("net", 3, 3, 2e-3, path / "net.so"),
        NetworkResult("untimed", 3, 3, None, path / "untimed.so"),
        NetworkResult("broken", None, None, None, None),
    )
    print_result(
        Console(stderr=True, width=80),
        TuneResult(*names, *numbers, (task,), (), path, (), networks),
    )
    lines = capsys.readouterr().err.splitlines()
    assert lines[-5:] == [
        "network net: /out/net.so, 2 ms in all",
        "network untimed: /out/untimed.so",
        "network broken: no library",
        # Where a network cannot be compiled, that is what there is of it.
        "schedule: /out/t.py",
        "everything else: /out/",
    ]
    result = TuneResult(*names, *numbers, (task,), (), path, (), networks[:2])
    print_result(Console(stderr=True, width=80), result)
    assert "schedule: " not in capsys.readouterr().err


def test_without_what_was_asked_for_a_verb_fails() -> None:
    path = Path("/out")
    task = TaskResult("t", 1, 1, 0, 1e-3, None, None, None, path / "t.py", None)
    names, numbers = ("w", "m", "h", "h", ("h",), "latent"), (1, 0, 1.0, False, 1e-3)
    whole = NetworkResult("net", 3, 3, 2e-3, path / "net.so")
    broken = NetworkResult("broken", None, None, None, None)
    none = dataclasses.replace(task, schedule=None)
    with click.Context(click.Command("tune")):
        finish(TuneResult(*names, *numbers, (task, none), (), path, (), (whole,)), False)
        for tasks, networks in [((none,), ()), ((none,), (whole,)), ((task,), (whole, broken))]:
            with pytest.raises(click.exceptions.Exit) as ended:
                finish(TuneResult(*names, *numbers, tasks, (), path, (), networks), False)
            assert ended.value.exit_code == 1
