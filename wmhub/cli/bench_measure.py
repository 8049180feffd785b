"""``wmhub bench measure``: our engine against TVM's own builder and runner."""

from __future__ import annotations

import dataclasses

import click

from wmhub.cli._options import seed_option


@click.command()
@click.option(
    "--workload",
    "workloads",
    multiple=True,
    metavar="NAME",
    help="Zoo workload to measure; may be repeated.",
)
@click.option("--candidates", type=click.IntRange(4), default=64, show_default=True, metavar="N")
@click.option("--cores", type=click.IntRange(1), metavar="N", help="Threads of a program.")
@click.option("--hardware", metavar="KEY", help="A GPU of this machine; by default its CPU.")
@seed_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(
    workloads: tuple[str, ...], candidates: int, cores: int | None, hardware: str | None, seed: int,
    as_json: bool,
) -> None:  # fmt: skip
    """Measure the same candidates with both: candidates per second, and whether they agree.

    Nothing else should run on the machine meanwhile.
    """
    from wmhub.bench.measure import DEFAULT_WORKLOADS, measure
    from wmhub.cli._show import show_facts, show_json, show_note

    result = measure(
        workloads or DEFAULT_WORKLOADS,
        candidates=candidates,
        cores=cores,
        hardware=hardware,
        seed=seed,
        progress=lambda text: show_note("bench", text),
    )
    if as_json:
        show_json(dataclasses.asdict(result))
        return
    show_facts(
        f"measure: {result.candidates} candidates",
        [
            ("engine", f"{result.our_rate:.2f} candidates/s"),
            ("TVM", f"{result.tvm_rate:.2f} candidates/s (LocalBuilder, LocalRunner)"),
            ("speedup", f"{result.speedup:.1f}x"),
            ("compared", f"{result.compared} candidates below 3x the best of their workload"),
            ("rank correlation", f"{result.rank_correlation:.3f}"),
            ("median ratio", f"{result.median_ratio:.3f}"),
            (
                "TVM with itself",
                f"rank correlation {result.tvm_rank_correlation:.3f}, "
                f"median ratio {result.tvm_median_ratio:.3f}",
            ),
            ("failed in either", f"{result.failures}"),
        ],
    )
