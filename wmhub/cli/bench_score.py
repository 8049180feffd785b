"""``wmhub bench score``: candidates scored per second, against TVM's features and XGBoost."""

from __future__ import annotations

import dataclasses

import click

from wmhub.cli._options import seed_option


@click.command()
@click.option("--model", default="wm-llvm-emeraldrapids-2c", show_default=True, metavar="NAME")
@click.option(
    "--workload",
    "workloads",
    multiple=True,
    metavar="NAME",
    help="Zoo workload whose candidates are scored; may be repeated.",
)
@click.option(
    "--candidates",
    type=click.IntRange(1),
    default=2048,
    show_default=True,
    metavar="N",
    help="Mutated candidates in each design space.",
)
@click.option(
    "--tvm-candidates",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    metavar="N",
    help="Those of them that TVM looks at.",
)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, metavar="N")
@click.option(
    "--memory-rounds",
    type=click.IntRange(1),
    default=30,
    show_default=True,
    metavar="N",
    help="Calls over all candidates between two looks at the memory.",
)
@seed_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(
    model: str, workloads: tuple[str, ...], candidates: int, tvm_candidates: int, rounds: int,
    memory_rounds: int, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Score mutated candidates on one core, from parsed traces, and let TVM's cost model do so too.

    The speedup is our rate from parsed traces over that of TVM's feature extraction and XGBoost
    prediction from schedules that have been replayed already; the replay is a second number. Rates
    are medians in CPU time, but the replay's, which is timed once. Sharing is the gain from rolling
    common prefixes of actions out once.
    """
    from wmhub.bench.score import DEFAULT_WORKLOADS, score
    from wmhub.cli._show import show_facts, show_json, show_note, show_table
    from wmhub.units import show_bytes

    result = score(
        model,
        workloads=workloads or DEFAULT_WORKLOADS,
        candidates=candidates,
        tvm_candidates=tvm_candidates,
        rounds=rounds,
        memory_rounds=memory_rounds,
        seed=seed,
        progress=lambda text: show_note("bench", text),
    )
    if as_json:
        show_json(dataclasses.asdict(result))
        return
    show_table(
        f"score: candidates/s of one core, {result.model}",
        ["", "candidates", "traces", "decisions", "unshared", "TVM", "with replay"],
        [
            [one.name, f"{one.candidates:,}"]
            + [
                f"{rate:,.0f}"
                for rate in (
                    one.traces_rate, one.decisions_rate, one.unshared_rate, one.tvm_rate,
                    one.tvm_replay_rate,
                )
            ]
            for one in result.workloads
        ],
    )  # fmt: skip
    show_facts(
        "",
        [
            ("from parsed traces", f"{result.candidates_per_second:,.0f} candidates/s"),
            ("from decisions", f"{result.decisions_per_second:,.0f} candidates/s"),
            ("TVM, features and XGBoost", f"{result.tvm_per_second:,.0f} candidates/s"),
            ("speedup", f"{result.speedup:.0f}x"),
            ("speedup with replay", f"{result.speedup_with_replay:.0f}x"),
            ("sharing of prefixes", f"{result.sharing_gain:.2f}x"),
            (
                "memory",
                f"{show_bytes(result.memory_growth_bytes)} more after "
                f"{result.memory_rounds} rounds",
            ),
        ],
    )
