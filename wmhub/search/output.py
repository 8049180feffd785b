"""The folder that a tuning run writes: database, schedules, libraries, report, plot."""

from __future__ import annotations

import json
import re
import secrets
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from wmhub.errors import InvalidInputError, MissingInputError, OutputExistsError
from wmhub.flushing import write_file
from wmhub.interrupts import sparing_children
from wmhub.search.result import TaskResult, TuneResult, best_so_far
from wmhub.tvm_compat import compiling_for, last_line

#: The two files of a MetaSchedule database.
DATABASE = ("database_workload.json", "database_tuning_record.json")
REPORT, PLOT, LEARNED, LOG = "report.json", "latency.png", "learned.npz", "tvm.log"
#: Records that were damaged, as they were.
REJECTED = "database_rejected.txt"
#: The mark of a folder that a demo may clear: nothing but demos has written there.
DEMO = ".made-by-demo"
#: What is written of each task: its schedule, and its library in either form.
_SCRIPT, _LIBRARIES = ".py", (".so", ".tar")
#: Tells the demo of this process from others.
_OURS = secrets.token_hex(8)


def begun(output: Path, database: Path | None) -> Path | None:
    """``database``, but ``None`` where it is ``output`` and no run has begun one there: the command
    that goes on after a kill is the one that begins."""
    is_new = _goes_on(output, database) and not any((output / name).exists() for name in DATABASE)
    return None if is_new else database


def refuse(output: Path, database: Path | None) -> None:
    """Whether a run may write to ``output`` and go on from ``database``; nothing is made yet.

    Raises ``OutputExistsError`` where another run's database is there already, unless ``database``
    is that very folder.
    """
    # A run that could not measure anything leaves an empty database, which is none.
    if not _goes_on(output, database) and any(
        path.exists() and path.stat().st_size
        for name in (*DATABASE, REPORT)
        if (path := output / name)
    ):
        raise OutputExistsError(
            f"{output} holds an earlier run: give another folder; what `wmhub tune` has measured "
            f"there it goes on from with --database {output}"
        )
    if database is not None:
        missing = [name for name in DATABASE if not (database / name).is_file()]
        if missing:
            raise MissingInputError(
                f"{database} is no database of MetaSchedule: {' and '.join(missing)} missing"
            )


def refuse_overwriting(
    output: Path,
    database: Path | None,
    tasks: Iterable[str],
    networks: Iterable[str],
    workload: object,
) -> None:
    """Raises ``OutputExistsError`` where a schedule of ``tasks``, or a library of these or of
    ``networks``, would replace a file that no run has written, or the one that ``workload``
    names."""
    source = Path(workload) if isinstance(workload, (str, Path)) else None
    names = [f"{file_stem(name)}{suffix}" for name in tasks for suffix in (_SCRIPT, *_LIBRARIES)]
    names += [f"{file_stem(name)}{suffix}" for name in networks for suffix in _LIBRARIES]
    for path in (output / name for name in names):
        if not path.exists():
            continue
        is_source = source is not None and source.exists() and path.samefile(source)
        if is_source or not _goes_on(output, database):
            raise OutputExistsError(
                f"{path} would be replaced: give another folder, or remove it if it is of a run "
                "that was killed"
            )


class Prepared(NamedTuple):
    """A database that a run goes on from."""

    records: int
    """What TVM can read of it."""
    rejected: tuple[str, ...]
    """Line and reason of each damaged record, which `REJECTED` keeps."""
    others: int
    """Records of another target."""


def prepare(output: Path, database: Path | None, opens: Callable[[Path], int]) -> Prepared:
    """Puts the database to go on from into the folder ``output``.

    A last line that a kill or a full disk has cut short is taken off. Any other that is no record,
    or one of a workload that is not there, is put aside: TVM would end on it without saying where
    it is. Raises ``InvalidInputError`` for a damaged workload, as records know theirs by its line,
    and where ``opens``, which counts the records of another target, cannot read a copy, such as
    records of an older TVM. Nothing is written then.
    """
    if database is None:
        _unmark(output, None)
        return Prepared(0, (), 0)
    bodies = [(database / name).read_bytes() for name in DATABASE]
    workloads, damaged = _rows(bodies[0])
    if damaged:
        number, _ = damaged[0]
        reason = "no row of a database: it is damaged"
        raise InvalidInputError.at(database / DATABASE[0], reason, number)
    rows, damaged = _rows(bodies[1])
    known = range(len(workloads))
    records: list[_Row] = []
    rejected = {number: (line, "no row of a database") for number, line in damaged}
    for row in rows:
        if isinstance(row.first, int) and row.first in known:
            records.append(row)
        else:
            missing = f"workload {row.first} of {len(workloads)} is not there"
            rejected[row.number] = row.line, missing
    wholes = [b"".join(row.line for row in rows) for rows in (workloads, records)]
    with tempfile.TemporaryDirectory() as copy:
        for name, whole in zip(DATABASE, wholes, strict=True):
            Path(copy, name).write_bytes(whole)
        try:
            others = opens(Path(copy))
        except InvalidInputError as error:
            raise InvalidInputError.at(database, str(error)) from error
        except Exception as error:  # TVM raises its own kinds, which differ by version.
            reason = f"TVM cannot read this database: {last_line(error) or type(error).__name__}"
            raise InvalidInputError.at(database, reason) from error
    if rejected:
        # Before they are taken out, so that a kill loses none.
        aside = output / REJECTED
        earlier = aside.read_bytes() if aside.exists() else b""
        write_file(aside, earlier + b"".join(line for line, _ in rejected.values()))
    for name, body, whole in zip(DATABASE, bodies, wholes, strict=True):
        if not _goes_on(output, database) or whole != body:
            write_file(output / name, whole)
    _unmark(output, database)
    told = (f"line {number}: {reason}" for number, (_, reason) in sorted(rejected.items()))
    return Prepared(len(records), tuple(told), others)


def mark_demo(output: Path) -> None:
    """Marks the folder ``output``, in which this process now runs a demo."""
    (output / DEMO).write_text(_OURS)


def _unmark(output: Path, database: Path | None) -> None:
    """Takes the mark of a demo away where what is now measured is not that demo's."""
    mark = output / DEMO
    if mark.is_file() and (database is not None or mark.read_text() != _OURS):
        mark.unlink()


def records_in(output: Path) -> int:
    """Whole lines of the database's records; 0 without one."""
    path = output / DATABASE[1]
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        return sum(line.endswith(b"\n") for line in file)


class _Row(NamedTuple):
    number: int
    line: bytes
    first: int | str
    """What it begins with: a record's workload, or a workload's hash."""


def _rows(body: bytes) -> tuple[list[_Row], list[tuple[int, bytes]]]:
    """The rows of a file of a database, and what else there is, with its line number; but for a
    last line that was cut short."""
    rows: list[_Row] = []
    damaged: list[tuple[int, bytes]] = []
    lines = body.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        is_ended = line.endswith(b"\n")
        whole = line if is_ended else line + b"\n"
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            row = None
        if isinstance(row, list) and len(row) > 1 and isinstance(row[0], (int, str)):
            rows.append(_Row(number, whole, row[0]))
        elif is_ended or number < len(lines):
            damaged.append((number, whole))
    return rows, damaged


def _goes_on(output: Path, database: Path | None) -> bool:
    """Whether the run goes on in the folder of an earlier one."""
    return database is not None and database.resolve() == output.resolve()


def file_stem(task: str) -> str:
    """A file name for a task's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", task)[:120].strip("._") or "task"


def write_schedule(output: Path, task: str, schedule: Any) -> Path:
    """Writes the scheduled program as TVMScript; returns the file."""
    path = output / f"{file_stem(task)}{_SCRIPT}"
    write_file(path, str(schedule.mod.script()).encode())
    return path


def write_library(output: Path, task: str, mod: Any, target: Any) -> tuple[Path | None, str | None]:
    """Compiles ``mod`` to a library; or the reason why that was not possible."""
    from wmhub.measure.programs import compile_program

    path = output / f"{file_stem(task)}{_suffix(target)}"
    try:
        # It takes its arguments as the program does, whatever the schedule would like.
        with compiling_for(str(target.kind.name)):
            export(compile_program(mod, target, packs_weights=True), path)
    except Exception as error:  # The linker, LLVM and TVM each raise their own.
        lines = str(error).strip().splitlines()
        return None, f"{task}: no library: {lines[-1] if lines else type(error).__name__}"
    return path, None


def export(executable: Any, path: Path) -> None:
    """Writes the library of what TVM has compiled, in the place of an older one if all goes well.

    Raises whatever TVM and the linker raise.
    """
    # TVM goes by the suffix.
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        with sparing_children():
            executable.export_library(str(partial))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def network_library(output: Path, network: str, target: Any) -> Path:
    """The file of a whole network's library."""
    return output / f"{file_stem(network)}{_suffix(target)}"


def _suffix(target: Any) -> str:
    """That of a shared library; where this machine cannot link it, of an archive of its objects,
    which TVM's ``load_module`` links where it is loaded."""
    from wmhub.tvm_compat import tvm

    host = target if target.host is None else target.host
    triple = str(host.attrs.get("mtriple", "")) if host.kind.name == "llvm" else ""
    # LLVM's own names more, such as a vendor.
    ours = str(tvm.target.codegen.llvm_get_system_triple()).split("-")
    return ".so" if set(filter(None, triple.split("-"))) <= set(ours) else ".tar"


def write_report(result: TuneResult) -> None:
    """Writes the report."""
    report = json.dumps(result.to_json(), indent=1) + "\n"
    write_file(result.output / REPORT, report.encode())


def write_plot(result: TuneResult) -> None:
    """Draws a plot where something was measured, of the tasks of which something was."""
    tasks = _ran(result)
    curve = best_so_far(result.history, {task.name: task.weight for task in tasks})
    if curve:
        plot(result, tasks, curve)


def _ran(result: TuneResult) -> list[TaskResult]:
    """The tasks of which a candidate ran."""
    ran = {trial.task for trial in result.history if trial.latency_s is not None}
    return [task for task in result.tasks if task.name in ran]


def plot(
    result: TuneResult, tasks: Sequence[TaskResult], curve: Sequence[tuple[int, float, float]]
) -> None:
    """Draws the best latency against trials and against seconds, to ``latency.png``."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    end = (len(result.history), result.history[-1].elapsed_s, curve[-1][2])
    rows = [*curve, end]
    milliseconds = [1e3 * latency for _, _, latency in rows]
    single, weight = len(tasks) == 1, tasks[0].weight
    for axis, column, label in ((axes[0], 0, "trials"), (axes[1], 1, "seconds")):
        if single:
            measured = [
                (number if column == 0 else trial.elapsed_s, 1e3 * weight * trial.latency_s)
                for number, trial in enumerate(result.history, 1)
                if trial.latency_s is not None
            ]
            axis.plot(*zip(*measured, strict=True), ".", color="0.75", markersize=4)
        axis.step([row[column] for row in rows], milliseconds, where="post", color="C0")
        axis.set_xlabel(label)
        axis.set_xlim(left=0)
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.8)))
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("latency, ms (line: best so far)")
    title = f"{result.workload}: {result.model} on {result.hardware}"
    if len(tasks) < len(result.tasks):
        title += f" ({len(tasks)} of {len(result.tasks)} tasks)"
    figure.suptitle(title, fontsize=10, parse_math=False)
    figure.savefig(result.output / PLOT, dpi=120)
