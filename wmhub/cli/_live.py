"""The part of ``wmhub collect`` that measures: its options, its progress, its result."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wmhub.cli._options import SEEDS, JsonTarget, rpc_option, timeout_options

if TYPE_CHECKING:
    from wmhub.live_collection import LiveReport
    from wmhub.logs.chunks import Rejection
    from wmhub.measure.live import LiveProgress

_OPTIONS = (
    click.option("--live", is_flag=True, help="Measure candidates instead of reading logs."),
    click.option(
        "--workloads",
        multiple=True,
        metavar="SPEC",
        help="With --live: zoo names, networks or globs, a .json IRModule, or a .py file, which is "
        "executed; the whole zoo by default. May be repeated.",
    ),
    click.option(
        "--candidates",
        type=click.IntRange(1),
        default=64,
        show_default=True,
        metavar="N",
        help="With --live: of each workload in this run.",
    ),
    click.option(
        "--batch",
        type=click.IntRange(1),
        default=32,
        show_default=True,
        metavar="N",
        help="With --live: candidates built and timed together; what kill -9 may lose.",
    ),
    click.option(
        "--random-share",
        type=click.FloatRange(0, 1),
        default=0.4,
        show_default=True,
        help="With --live: share of random candidates after the first batch of a workload; the "
        "others change up to three decisions of its best.",
    ),
    click.option(
        "--model",
        metavar="NAME",
        help="With --live: a checkpoint, of any hardware, that chooses the others instead: half is "
        "what it would measure in a search, half what it takes for fast unmeasured.",
    ),
    click.option(
        "--count",
        type=click.IntRange(1),
        metavar="N",
        help="With --live: stop after N records in this run.",
    ),
    click.option(
        "--seconds",
        type=click.FloatRange(0, min_open=True),
        metavar="S",
        help="With --live: no batch begins after so many seconds.",
    ),
    click.option(
        "--seed",
        type=SEEDS,
        default=0,
        show_default=True,
        metavar="N",
        help="With --live: of what is drawn.",
    ),
    click.option(
        "--target",
        type=JsonTarget(),
        help="With --live: the TVM target; derived from the hardware by default.",
    ),
    *timeout_options("With --live: "),
    click.option(
        "--flush-cache", is_flag=True, help="With --live: empty the caches before each run."
    ),
    rpc_option("With --live: "),
)

#: Options of the plan, and the other ones, that only mean something with ``--live``.
_PLAN = ("candidates", "batch", "random_share", "count", "seconds", "seed")
_REST = (
    "workloads",
    "target",
    "run_timeout",
    "build_timeout",
    "flush_cache",
    "rpc",
    "model",
)
#: Options of reading logs that mean nothing with it.
_OF_LOGS = ("recipe", "mirror", "update", "strict")


def live_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of a live collection to ``command``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def take_live(
    logs: tuple[str, ...],
    output: Path,
    test_workloads: Path | None,
    workers: int | None,
    as_json: bool,
    options: dict[str, Any],
) -> bool:
    """Collects live if ``--live`` is among ``options``, from which the options here are taken.

    Raises ``click.UsageError`` for options that do not go together.
    """
    live = options.pop("live")
    plan = {name: options.pop(name) for name in _PLAN}
    rest = {name: options.pop(name) for name in _REST}
    source = click.get_current_context().get_parameter_source
    given = [name for name in (*_PLAN, *_REST) if _is_given(source(name))]
    if not live:
        if given:
            raise click.UsageError(f"--{given[0].replace('_', '-')} needs --live")
        return False
    foreign = [f"--{name}" for name in _OF_LOGS if options.pop(name)]
    if logs or test_workloads or foreign:
        foreign += ["--test-workloads"] if test_workloads else []
        named = f"{', '.join(foreign)} of reading logs" if foreign else "logs"
        raise click.UsageError(f"--live measures: leave out {named}")
    _collect_live(output, plan, as_json, workers=workers, **rest, **options)
    return True


def _is_given(source: click.core.ParameterSource | None) -> bool:
    return source is click.core.ParameterSource.COMMANDLINE


def _collect_live(
    output: Path,
    plan: dict[str, Any],
    as_json: bool,
    *,
    workloads: tuple[str, ...],
    target: dict[str, Any] | None,
    run_timeout: float,
    build_timeout: float,
    flush_cache: bool,
    **options: Any,
) -> None:
    from wmhub import live_collection
    from wmhub.cli._show import show_json, show_note
    from wmhub.measure.live import LivePlan
    from wmhub.measure.timing import TimingPlan

    if not options["licence"]:
        lack = "records without a licence, such as CC-BY-4.0, cannot be published"
        show_note("licence", f"{lack}; give --licence, or name it later: wmhub dataset credit")
    with live_progress() as progress, noise_told():
        report = live_collection.collect_live(
            output,
            workloads=workloads or ("zoo",),
            target=target,
            plan=LivePlan(**plan),
            timing=TimingPlan(flush_cache=flush_cache),
            run_timeout_seconds=run_timeout,
            build_timeout_seconds=build_timeout,
            progress=progress,
            **options,
        )
    if as_json:
        show_json(_as_json(report))
    else:
        _show(report)


@contextmanager
def noise_told() -> Iterator[None]:
    """Tells at once what makes latencies less sure: when all is measured it is of no use."""
    from wmhub.cli._show import show_note
    from wmhub.hardware.probe import NoisyMachineWarning

    def tell(message: Warning | str, *_: Any, **__: Any) -> None:
        show_note("warning", str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", NoisyMachineWarning)
        warnings.showwarning = tell
        yield


@contextmanager
def live_progress() -> Iterator[Callable[[LiveProgress], None]]:
    """A bar of records with rate, failures and the best latency of the workload at hand."""
    from rich import progress as bars

    from wmhub.cli._show import console

    columns = (
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[rate]:.2f}/s, {task.fields[failed]} failed"),
        bars.TimeRemainingColumn(),
        bars.TextColumn("{task.description}"),
    )
    screen = console()
    with bars.Progress(*columns, console=screen, disable=not screen.is_terminal) as bar:
        task = bar.add_task("starting", total=None, rate=0.0, failed=0)

        def update(state: LiveProgress) -> None:
            best = state.best_seconds.get(state.workload)
            latency = f"best {best * 1e3:.3f} ms" if best is not None else state.last_failure[:60]
            bar.update(
                task,
                completed=state.records,
                total=state.expected,
                rate=state.rate,
                failed=state.failures.total(),
                description=f"{state.workload} {latency}",
            )

        yield update


def _as_json(report: LiveReport) -> dict[str, Any]:
    state, manifest = report.progress, report.manifest
    return {
        "output": str(report.output),
        "hardware": str(manifest.hardware),
        "version": str(manifest.version),
        "added": state.records,
        "failures": dict(state.failures),
        "rejected": len(report.rejections),
        "rejections": [
            {"line": item.line, "reason": item.reason} for item in report.rejections[:100]
        ],
        "damaged_journal": None if report.journal is None else str(report.journal),
        "skipped": state.skipped,
        "candidates_per_second": round(state.rate, 3),
        "seconds": round(state.elapsed_seconds, 3),
        "best_seconds": state.best_seconds,
        "records": manifest.counts.records,
        "workloads": manifest.counts.workloads,
        "splits": {name: split.records for name, split in manifest.splits.items()},
        "interrupted": report.interrupted,
    }


def _show(report: LiveReport) -> None:
    from wmhub.cli._show import show_facts

    state, manifest = report.progress, report.manifest
    facts = [
        ("added", f"{state.records:,} records in {state.elapsed_seconds:.0f} s"),
        ("rate", f"{state.rate:.2f} candidates/s"),
        ("failed", failures_text(state) or "none"),
        ("records", f"{manifest.counts.records:,} of {manifest.counts.workloads:,} workloads"),
    ]
    if state.skipped:
        reasons = [f"{name}: {reason}" for name, reason in state.skipped.items()]
        facts.append(("skipped", "\n".join(reasons)))
    if report.interrupted:
        facts.append(("interrupted", "the same command adds to it"))
    show_facts(f"{manifest.hardware} {manifest.version.tag} in {report.output}", facts)
    show_rejected(report.rejections, report.journal)


def show_rejected(rejections: Sequence[Rejection], journal: Path | None) -> None:
    """Tells of the damaged lines of a ``journal``, where there are any."""
    from wmhub.cli._show import show_note

    if rejections:
        first, count = rejections[0], len(rejections)
        lines = "a line" if count == 1 else f"{count:,} lines"
        show_note(
            "rejected",
            f"{lines} of an earlier run's journal, kept as {journal}; the first, line "
            f"{first.line}: {first.reason}",
        )


def failures_text(state: LiveProgress) -> str:
    """Failed candidates by kind, the most frequent first; empty without any."""
    return ", ".join(f"{count:,} {kind}" for kind, count in state.failures.most_common())
