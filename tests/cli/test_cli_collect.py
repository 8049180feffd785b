"""``wmhub collect`` and ``wmhub dataset`` as people and scripts meet them."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from logmaking import ansor_line, ansor_log, meta_database

from wmhub.cli import main
from wmhub.dataset.reader import open_dataset
from wmhub.dataset.version import Version
from wmhub.errors import MeasureError
from wmhub.hardware.table import lookup
from wmhub.names import HardwareKey
from wmhub.training.corpus import profile_of


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(
        "wmhub.dataset.writer.draw_picture", lambda path, _: path.write_bytes(b"picture")
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.log").write_text(ansor_log())


class Ran:
    """One call of the command line."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        self.code = exit_.value.code
        self.out, self.err = capsys.readouterr()

    @property
    def json(self) -> dict[str, object]:
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


def collect(capsys: pytest.CaptureFixture[str], *arguments: str, output: str = "out") -> Ran:
    options = ["--hardware", "cuda-v100", "--output", output, "--workers", "1"]
    return Ran(capsys, "collect", *arguments, *options)


def test_json_has_the_counts_and_nothing_else_is_on_stdout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Path("a.log").open("a") as file:
        file.write("# comment\n" + ansor_line()[:50])
    ran = collect(capsys, "a.log", "--json")
    assert ran.code == 0
    facts = ran.json
    expected = {"lines": 41, "measured": 36, "failed": 4, "rejected": 1, "workloads": 4}
    assert {key: facts[key] for key in expected} == expected
    assert facts["unresolved_workloads"] == 0
    assert facts["unknown_actions"] == {}
    assert facts["rejections"] == [
        {"file": "a.log", "line": 42, "reason": facts["rejections"][0]["reason"]}  # type: ignore[index]
    ]


def test_what_people_see(capsys: pytest.CaptureFixture[str]) -> None:
    with Path("a.log").open("a") as file:
        file.write("[0, broken\n" * 7 + ansor_line(steps=[["NEW"]]) + "\n")
    ran = collect(capsys, "a.log")
    assert (ran.code, ran.out) == (0, "")
    shown = "\n".join(line.rstrip() for line in ran.err.splitlines())
    timing = shown.index("  time")
    assert shown[:timing] == (
        "cuda-v100 v1.0.0 in out\n"
        "  lines             48 in 1 log\n"
        "  measured          37\n"
        "  failed            4  (4 build_timeout)\n"
        "  rejected          7\n"
        "  records           41 (0 duplicates)\n"
        "  workloads         5\n"
        "  splits            train 30, validation 10, test 1\n"
    )
    assert "unknown action    NEW in 1 records (kept)" in shown
    assert shown.count("rejected a.log:4") == 5
    assert "2 more lines, see out/rejected.jsonl" in shown


def test_what_of_a_folder_is_not_read_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("logs").mkdir()
    Path("a.log").rename("logs/a.log")
    Path("logs/README.md").write_text("what to do\n")
    for number in range(7):
        Path(f"logs/cut-{number}.log.gz").write_bytes(b"\x1f\x8b\x08")
    ran = collect(capsys, "logs", "--json")
    ignored = ran.json["ignored"]
    assert isinstance(ignored, list)
    assert ran.json["other_files"] == 1
    assert [Path(item["file"]).name for item in ignored] == [f"cut-{n}.log.gz" for n in range(7)]
    assert ignored[0]["reason"].startswith("the compressed stream is damaged or cut short")
    shown = collect(capsys, "logs", output="other").err
    assert "  other files    1 (no logs)" in shown
    assert shown.count("ignored ") == 6
    assert "logs/cut-4.log.gz: the compressed stream is damaged" in shown
    assert "ignored 2 more files, see --json" in shown
    strict = collect(capsys, "logs", "--strict", output="strict")
    assert strict.code == 2
    assert "logs/cut-0.log.gz: the compressed stream is damaged" in strict.err
    assert not Path("strict").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.log"], "missing.log: no such file"),
        (["empty.log"], "it is empty"),
        (["notes.txt"], "neither an Ansor log nor"),
        (["half.log"], "none of 1 lines holds a record"),
        (["a.log", "--hardware", "gpu"], "hardware key 'gpu' is not"),
        (["a.log", "--hardware", "cude-a100"], "'cude' is none of llvm, cuda"),
        (["a.log", "--version", "one"], "content version 'one' is not like 1.2.0"),
        ([], "no log given"),
        (["a.log", "--output", "full"], "exists and is no dataset"),
        (["a.log", "--recipe", "a.log"], "a recipe names logs and hardware itself"),
    ],
)
def test_bad_input_is_one_clear_message(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    Path("empty.log").touch()
    Path("notes.txt").write_text("what to do\n")
    Path("half.log").write_text(ansor_line()[:60])
    Path("full").mkdir()
    Path("full/file").touch()
    options = ["--hardware", "cuda-v100", "--output", "out"]
    ran = Ran(capsys, "collect", *options, *arguments)
    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""


def test_strict_stops_at_the_first_rejected_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Path("a.log").open("a") as file:
        file.write("broken\n")
    ran = collect(capsys, "a.log", "--strict")
    assert ran.code == 2
    assert "a.log:41: no valid JSON" in ran.err
    assert not Path("out").exists()


def test_a_list_of_test_workloads(capsys: pytest.CaptureFixture[str]) -> None:
    Path("test.txt").write_text('# the list\n["matmul", 64, 32, 3]\n\n')
    facts = collect(capsys, "a.log", "--test-workloads", "test.txt", "--json").json
    assert facts["splits"]["test"] == 10  # type: ignore[index]


def test_the_verbs_of_a_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    collect(capsys, "a.log", "--licence", "MIT", "--contributor", "me")
    Path("b.log").write_text(ansor_line() + "\n")
    collect(capsys, "b.log", "--licence", "MIT", "--contributor", "me", output="two")
    info = Ran(capsys, "dataset", "info", "out", "--json").json
    assert (info["records"], info["version"], info["licences"]) == (40, "1.0.0", {"MIT": 40})
    assert Ran(capsys, "dataset", "info", "out").err.startswith("cuda-v100 v1.0.0 in out")
    merged = Ran(capsys, "dataset", "merge", "out", "two", "--output", "both", "--json").json
    assert (merged["records"], merged["version"]) == (41, "1.1.0")
    found = Ran(capsys, "dataset", "diff", "out", "both", "--json").json
    assert (found["change"], found["added"], found["follows_rules"]) == ("minor", 1, True)
    assert "minor" in Ran(capsys, "dataset", "diff", "out", "both").err
    Ran(capsys, "dataset", "split", "both", "--output", "again")
    exported = Ran(capsys, "dataset", "export", "out", "--best", "--output", "log", "--json").json
    assert exported["records"] == 4
    assert Path("log/auto_scheduler.json").read_text().count("\n") == 4
    assert Ran(capsys, "dataset", "verify", "both").code == 0
    assert Ran(capsys, "dataset", "check", "both").code == 0
    card = Ran(capsys, "dataset", "card", "both")
    assert "v1.1.1" in card.err
    assert Ran(capsys, "dataset", "verify", "both", "--json").json["verified"] is True


def test_findings_have_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    collect(capsys, "a.log")
    checked = Ran(capsys, "dataset", "check", "out", "--json")
    assert (checked.code, checked.json["passed"]) == (2, False)
    assert Ran(capsys, "dataset", "check", "out", "--markdown").out.startswith("### `wmhub")
    Path("out/workloads-00000.parquet").unlink()
    verified = Ran(capsys, "dataset", "verify", "out")
    assert verified.code == 2
    assert "workloads-00000.parquet: the manifest names it, and it is missing" in verified.err
    assert Ran(capsys, "dataset", "info", "nowhere").code == 2


def test_a_database_without_workloads_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    Path("database_tuning_record.json").write_text(meta_database()[1])
    ran = collect(capsys, "database_tuning_record.json")
    assert "3 (their program is missing)" in ran.err


def test_a_device_that_no_one_knows_is_kept_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "collect", "a.log", "--hardware", "cuda-v1000", "--output", "out")
    assert ran.code == 0
    assert "no profile of cuda-v1000 is known" in ran.err
    assert "did you mean cuda-v100" in ran.err


def test_a_device_of_no_table_brings_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    known = lookup(HardwareKey.parse("cuda-v100"))
    assert known is not None
    mine = dataclasses.replace(known, key=HardwareKey.parse("cuda-v1000"), cores=160)
    Path("v1000.json").write_text(json.dumps(mine.to_json()))
    ran = Ran(capsys, "collect", "a.log", "--profile", "v1000.json", "--output", "out")
    assert ran.code == 0
    assert "no profile" not in ran.err
    dataset = open_dataset("out")
    assert (dataset.hardware, profile_of(dataset)) == (mine.key, mine)
    # A dataset that has none gets it when it grows.
    Ran(capsys, "collect", "a.log", "--hardware", "cuda-v1000", "--output", "bare")
    Path("b.log").write_text(ansor_log(workloads=5))
    for log, version in (("a.log", "1.0.1"), ("b.log", "1.1.0"), ("b.log", "1.1.0")):
        grown = ("collect", log, "--profile", "v1000.json", "--output", "bare", "--update")
        assert Ran(capsys, *grown).code == 0
        assert profile_of(open_dataset("bare")) == mine
        assert str(open_dataset("bare").manifest.version) == version
    other = dataclasses.replace(mine, cores=80)
    Path("v1000.json").write_text(json.dumps(other.to_json()))
    ran = Ran(capsys, "collect", "b.log", "--profile", "v1000.json", "--output", "out", "--update")
    assert ran.code == 2
    assert "has other numbers of cuda-v1000 than the profile" in ran.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no hardware profile"), ("[]", "no object"), ("{}", "the field 'key' is missing"),
        ("[" * 100_000, "no hardware profile"), (None, "is of cuda-v100, not of cuda-k80"),
    ],
)  # fmt: skip
def test_a_profile_that_is_none_is_refused(
    text: str | None, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    known = lookup(HardwareKey.parse("cuda-v100"))
    assert known is not None
    Path("p.json").write_text(json.dumps(known.to_json()) if text is None else text)
    named = ("--hardware", "cuda-k80", "--output", "out")
    ran = Ran(capsys, "collect", "a.log", "--profile", "p.json", *named)
    assert (ran.code, Path("out").exists()) == (2, False)
    assert says in ran.err


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["dataset"], ["bench"], ["collect"], ["bench", "ingest"]):
        ran = Ran(capsys, *arguments, "--help")
        assert ran.code == 0
        assert "Usage: wmhub " + " ".join(arguments) in ran.out
    assert Ran(capsys, "bench", "ingst").code == 2


def test_options_without_effect_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("sources.toml").write_text("")
    recipe = ("collect", "--recipe", "sources.toml", "--output", "out")
    community = ("dataset", "check", "wmhub/community", "--revision", "refs/pr/1")
    for arguments, reason in (
        (("collect", "a.log", "--mirror", ".", "--output", "out"), "--mirror needs --recipe"),
        ((*recipe, "--licence", "MIT"), "names each --licence itself"),
        ((*recipe, "--contributor", "me"), "names each --contributor itself"),
        ((*community, "--published", "out"), "leave out --published"),
        (("bench", "ingest", "-"), "standard input cannot be read more than once"),
        (("bench", "ingest", "a.log", "--records", "9"), "where no LOG is given"),
        (("collect", "--live", "--update", "--output", "out"), "leave out --update of reading"),
    ):
        ran = Ran(capsys, *arguments)
        assert ran.code == 2
        assert reason in ran.err
    assert not Path("out").exists()


def test_what_disturbs_a_live_collection_is_said_before_it_is_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from wmhub import live_collection
    from wmhub.hardware.probe import NoisyMachineWarning

    def measures(*_: object, **__: object) -> None:
        warnings.warn("busy: stop other work", NoisyMachineWarning, stacklevel=2)
        said = capsys.readouterr().err
        assert "warning busy: stop other work" in said
        assert "without a licence" in said
        raise MeasureError("the machine is gone")

    monkeypatch.setattr(live_collection, "collect_live", measures)
    ran = Ran(capsys, "collect", "--live", "--output", str(tmp_path / "out"))
    assert (ran.code != 0, "the machine is gone" in ran.err) == (True, True)


def test_what_was_damaged_of_a_journal_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from wmhub import live_collection
    from wmhub.logs.chunks import Rejection
    from wmhub.measure.live import LiveProgress

    counts = SimpleNamespace(records=3, workloads=1)
    manifest = SimpleNamespace(
        hardware="llvm-x-2c", version=Version(1, 0, 0), counts=counts, splits={}
    )
    rejections = [Rejection("journal.jsonl", line, "damaged: no JSON") for line in (4, 7)]
    report = live_collection.LiveReport(
        Path("out"),
        manifest,  # type: ignore[arg-type]
        LiveProgress(),
        rejections,
        Path("out.wmhub/damaged/journal-1.jsonl"),
        interrupted=False,
    )
    monkeypatch.setattr(live_collection, "collect_live", lambda *_, **__: report)
    shown = Ran(capsys, "collect", "--live", "--output", "out").err
    assert (
        "rejected 2 lines of an earlier run's journal, kept as out.wmhub/damaged/journal-1.jsonl; "
        "the first, line 4: damaged: no JSON"
    ) in shown
    facts = Ran(capsys, "collect", "--live", "--output", "out", "--json").json
    assert facts["rejected"] == 2
    assert facts["rejections"][1] == {"line": 7, "reason": "damaged: no JSON"}  # type: ignore[index]
    assert facts["damaged_journal"] == "out.wmhub/damaged/journal-1.jsonl"
