"""The command line: one file per verb, each of which parses, makes one library call, and prints."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click

import wmhub
from wmhub.errors import WmhubError

#: Verb -> (module that defines ``command``, one line of help). Listed here so that ``--help``
#: imports no verb, and a verb imports nothing of the others. In the order of the work.
VERBS: dict[str, tuple[str, str]] = {
    "collect": ("wmhub.cli.collect", "Make a dataset of logs, or by measuring."),
    "dataset": ("wmhub.cli.dataset", "Look into datasets; compare, join, check, export."),
    "train": ("wmhub.cli.train", "Train an evaluator on a dataset."),
    "eval": ("wmhub.cli.eval", "Measure a model on held-out workloads."),
    "models": ("wmhub.cli.models", "List the pretrained models, and which fits this machine."),
    "datasets": ("wmhub.cli.datasets", "List the datasets."),
    "push": ("wmhub.cli.push", "Publish a model or a dataset."),
    "contribute": ("wmhub.cli.contribute", "Propose a dataset to the community."),
    "lock": ("wmhub.cli.lock", "Pin names to commits and digests."),
    "tune": ("wmhub.cli.tune", "Search for the fastest schedule of a workload."),
    "schedule": ("wmhub.cli.schedule", "Write what the model thinks best, unmeasured."),
    "doctor": ("wmhub.cli.doctor", "Check the installation and this machine."),
    "demo": ("wmhub.cli.demo", "Tune a layer of BERT-base on this machine."),
    "bench": ("wmhub.cli.bench", "Measure what the documentation claims."),
}


class LazyGroup(click.Group):
    """A group whose verbs, a table like ``VERBS``, are imported when they are called."""

    def __init__(self, *args: Any, verbs: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the table's order."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the verb."""
        if cmd_name not in self._verbs:
            return None
        command = importlib.import_module(self._verbs[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the verb; an unknown one is answered with the nearest."""
        if args and not args[0].startswith("-") and args[0] not in self._verbs:
            from wmhub.errors import nearest

            close = nearest(args[0], self._verbs)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            ctx.fail(f"No such verb {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, help_line) for verb, (_, help_line) in self._verbs.items()])


@click.group(
    cls=LazyGroup,
    verbs=VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(wmhub.__version__, message="wmhub %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Datasets and pretrained evaluators for compiler world models.

    A world model has learned from measured schedules how each scheduling action changes a program.
    It ranks candidates for Apache TVM's auto-scheduler without building or measuring them.
    """


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits: 0 done, 2 the user's mistake or a check that failed, 130
    interrupted, 1 anything else."""
    arguments = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in arguments
    try:
        # --debug may stand anywhere on the line.
        kept = [a for a in arguments if a != "--debug"]
        code = cli.main(kept, prog_name="wmhub", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone (`wmhub ... | head`); nothing is left to say.
        sys.stderr.close()
        sys.exit(1)
    except WmhubError as error:
        if debug:
            traceback.print_exc()
        _complain(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        # A full disk, a folder that may not be written: the system's own words say it best.
        if debug:
            traceback.print_exc()
        _complain(str(error))
        sys.exit(1)
    except Exception as error:
        if debug:
            traceback.print_exc()
        _complain(
            f"{type(error).__name__}: {error}\n"
            "This is a defect of wmhub. Run again with --debug and report what it prints."
        )
        sys.exit(1)
    # Without its standalone mode click returns the code of `ctx.exit(code)`; verbs return nothing.
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str) -> None:
    from wmhub.cli._show import printable

    text = printable(message)
    click.echo(f"{click.style('error:', fg='red', bold=True)} {text}", err=True)
