"""The command line's frame: help, exit codes, messages."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import click
import pytest

import wmhub
from wmhub.cli import VERBS, cli, main
from wmhub.errors import HubError, InvalidInputError

LINE = json.dumps(
    {
        "i": [['["matmul", 64]', "llvm", [1] * 8, "", 0, []], [[], [["SP", 2, 0, 64, [2, 4], 1]]]],
        "r": [[0.001], 0, 0.5, 1637575039],
        "v": "v0.6",
    }
)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    captured = capsys.readouterr()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code, captured.out, captured.err


def test_help_names_every_verb(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = run(capsys, "--help")
    golden = Path(__file__).with_name("golden_help.txt")
    assert (code, out) == (0, golden.read_text())
    assert all(f"  {verb} " in out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_every_option_has_help(verb: str) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None

    def check(command: click.Command, name: str) -> None:
        assert command.help, name
        for option in command.params:
            if isinstance(option, click.Option):
                # A default that is shown and a plain name may say it all.
                assert option.help or option.show_default, f"{name} {option.opts}"
        if isinstance(command, click.Group):
            context = click.Context(command)
            for sub in command.list_commands(context):
                found = command.get_command(context, sub)
                assert found is not None
                check(found, f"{name} {sub}")

    check(command, verb)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_a_library_function(verb: str) -> None:
    # `doctor` answers for the installation and `bench` and `dataset` are groups.
    named = {"eval": "evaluate"}.get(verb, verb)
    if verb not in ("dataset", "bench", "doctor"):
        assert callable(getattr(wmhub, named))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version")[:2] == (0, f"wmhub {wmhub.__version__}\n")


def test_an_unknown_verb_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "colect")
    assert (code, out) == (2, "")
    assert "Did you mean collect" in err


@pytest.mark.parametrize(
    ("error", "code"), [(InvalidInputError("log.json:3: half a line"), 2), (HubError("gone"), 1)]
)
def test_our_errors_are_one_message(
    error: Exception,
    code: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cli, "main", _raising(error))
    assert run(capsys) == (code, "", f"error: {error}\n")
    found, _, err = run(capsys, "--debug")
    assert found == code
    assert "Traceback" in err


def test_a_defect_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "main", _raising(ZeroDivisionError("oh")))
    code, _, err = run(capsys)
    assert code == 1
    assert "defect of wmhub" in err
    assert "Traceback" not in err


def test_an_interruption_is_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "main", _raising(KeyboardInterrupt()))
    assert run(capsys)[0] == 130


def _raising(error: BaseException) -> object:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["collect", "missing.json", "--hardware", "cuda-v100", "--output", "out"], "missing.json"),
        (["collect", "empty.json", "--hardware", "cuda-v100", "--output", "out"], "empty.json"),
        (["collect", "text.txt", "--hardware", "cuda-v100", "--output", "out"], "text.txt"),
        (["collect", "log.json", "--hardware", "toaster", "--output", "out"], "toaster"),
        (["train", "--dataset", "nowhere", "--output", "out"], "nowhere"),
        (["eval", "--model", "wm-cuda-zzz", "--dataset", "nowhere"], "wm-cuda-zzz"),
        (["eval", "--model", "../evil", "--dataset", "nowhere"], "../evil"),
        (["dataset", "info", "nowhere"], "nowhere"),
        (["dataset", "check", "x/y", "--revision", "main"], "refs/pr/N"),
        (["tune", "matmul-m480-n480-k480", "--model", "nothing", "--output", "out"], "nothing"),
    ],
)
def test_bad_input_is_the_users_and_one_clear_message(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Path("empty.json").write_text("")
    Path("log.json").write_text(LINE + "\n")
    Path("text.txt").write_text("this is no log\n")
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert not Path("out").exists()


def test_json_is_alone_on_standard_output(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log = tmp_path / "log.json"
    log.write_text(LINE + "\n" + '{"i": [["half')
    code, out, _ = run(
        capsys, "collect", str(log), "--hardware", "cuda-v100", "--output",
        str(tmp_path / "data"), "--workers", "1", "--json",
    )  # fmt: skip
    found = json.loads(out)
    assert code == 0
    assert (found["lines"], found["measured"], found["failed"], found["rejected"]) == (2, 1, 0, 1)
    assert found["workloads"] == 1


def test_what_the_system_refuses_is_no_defect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/rows.parquet")

    monkeypatch.setattr("wmhub.cli.cli.main", full)
    with pytest.raises(SystemExit) as ended:
        main(["models"])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "No space left on device: '/data/rows.parquet'" in said
    assert "defect" not in said


@pytest.mark.parametrize("verb", ["tune", "schedule", "collect"])
def test_a_target_may_be_a_tag_and_is_an_object(verb: str) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    (option,) = (one for one in command.params if one.name == "target")
    assert option.type.convert('{"tag": "nvidia/nvidia-a100"}', option, None) == {
        "tag": "nvidia/nvidia-a100"
    }
    for wrong in ("llvm", "[1]", '{"arch": "sm_80"}'):
        with pytest.raises(click.BadParameter, match="is no object such as"):
            option.type.convert(wrong, option, None)
