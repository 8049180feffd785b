"""Options that several verbs share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., object])


class JsonTarget(click.ParamType):  # type: ignore[type-arg]
    """A TVM target as a JSON object, with its kind or a tag of TVM's."""

    name = "JSON"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        """The object; fails with an example."""
        try:
            target = json.loads(value)
        except ValueError:
            target = None
        if not isinstance(target, dict) or not target.keys() & {"kind", "tag"}:
            self.fail(f'{value!r} is no object such as {{"kind": "cuda", "arch": "sm_80"}}')
        return target


def hub_options(function: _F) -> _F:
    """``--hub`` and ``--offline`` of the verbs that list and pin what hubs hold; all others go by
    ``WMHUB_HUB`` and ``HF_HUB_OFFLINE``."""
    function = click.option("--offline", is_flag=True, help="Ask no server; use what is here.")(
        function
    )
    return click.option(
        "--hub",
        metavar="PLACE",
        help="hf-hub (the default) or folder:PATH; also WMHUB_HUB.",
    )(function)


def locked_option(function: _F) -> _F:
    """``--locked FILE`` of the verbs whose result depends on a model: eval, tune and schedule."""
    return click.option(
        "--locked",
        type=click.Path(exists=True, dir_okay=False),
        metavar="FILE",
        help="Lock (of `wmhub lock`) that must name the model, by commit and digests.",
    )(function)


#: Seeds that TVM takes, as ``wmhub.measure.sampling.require_seed`` has it.
SEEDS = click.IntRange(0, 2**32 - 1)
#: ``--seed N`` of a search.
seed_option = click.option(
    "--seed",
    type=SEEDS,
    default=0,
    show_default=True,
    metavar="N",
    help="Of what is drawn.",
)


def timeout_options(when: str = "") -> tuple[Callable[[_F], _F], ...]:
    """``--run-timeout`` and ``--build-timeout`` of what measures; ``when`` begins their help."""

    def limit(name: str, default: float, what: str) -> Callable[[_F], _F]:
        help_ = f"{when}seconds after which {what}."
        return click.option(
            name,
            type=click.FloatRange(0, min_open=True),
            default=default,
            show_default=True,
            metavar="S",
            help=help_[0].upper() + help_[1:],
        )

    return (
        limit("--run-timeout", 10.0, "a candidate is killed"),
        limit("--build-timeout", 30.0, "a build is given up"),
    )


def rpc_option(when: str = "") -> Callable[[_F], _F]:
    """``--rpc HOST:PORT/KEY`` of what measures; ``when`` begins its help."""
    help_ = f"{when}run on the devices of a TVM tracker; --hardware says what they are."
    return click.option("--rpc", metavar="HOST:PORT/KEY", help=help_[0].upper() + help_[1:])


def threads_option(function: _F) -> _F:
    """``--threads N`` of what trains; see `use_threads`."""
    return click.option(
        "--threads",
        type=click.IntRange(1),
        metavar="N",
        help="CPU threads; by default torch's, within a container's share.",
    )(function)


def use_threads(threads: int | None) -> None:
    """Has torch, and what follows it, use ``threads``, by default as many as it would itself but
    no more than a container grants the time for, which torch does not ask."""
    import torch

    from wmhub.hardware.machine import read_cpu

    torch.set_num_threads(threads or min(torch.get_num_threads(), read_cpu().usable_threads))


def runs_option(folder: str, kept: str) -> Callable[[_F], _F]:
    """``--output DIR`` of a benchmark of many runs that goes on where it was, by default
    ``folder``. ``kept``: what is not done again."""
    return click.option(
        "--output",
        default=Path(folder),
        show_default=True,
        type=click.Path(path_type=Path),
        metavar="DIR",
        help=f"Folder of the runs; {kept}.",
    )
