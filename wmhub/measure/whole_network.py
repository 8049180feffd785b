"""A network of TVM's Relax: its operators as tasks, and the library of all of it.

``whole_network`` fuses the operators, ``extracted`` are what is tuned one by one,
``with_schedules`` puts the schedules that were found in their places, and ``compiled`` makes the
library.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from wmhub.errors import InvalidInputError, MissingDependencyError
from wmhub.measure.panels import PREPROCESSED
from wmhub.measure.programs import entry_arguments
from wmhub.tvm_compat import last_line, relax, tensor_type, tvm
from wmhub.tvm_compat import meta_schedule as ms

#: What TVM calls a program that has a schedule.
_SCHEDULED = "tirx.is_scheduled"


@dataclass(frozen=True)
class WholeNetwork:
    """A network whose operators are fused, and can be scheduled."""

    name: str
    """Readable: that of the variable or file that it came from."""
    module: Any
    """``tvm.IRModule`` of Relax functions, and of the programs that they call."""


@dataclass(frozen=True)
class Operator:
    """A program that a network calls."""

    name: str
    """That of the function."""
    mod: Any
    """``tvm.IRModule`` of it alone."""
    calls: int
    """How often it is called."""
    is_scheduled: bool
    """Whether it came with a schedule: TVM takes none of it from a database."""


@dataclass(frozen=True)
class Scheduled:
    """A network with the schedules of its operators."""

    module: Any
    """``tvm.IRModule`` that is ready to be compiled."""
    operators: int
    """Programs that it calls."""
    scheduled: int
    """Those of them that have a schedule."""


def is_exported(value: Any) -> bool:
    """Whether ``value`` is an exported program of PyTorch; torch need not be here."""
    kind = type(value)
    return kind.__module__.startswith("torch.export") and kind.__name__ == "ExportedProgram"


def is_network(module: Any) -> bool:
    """Whether an ``IRModule`` has functions of Relax."""
    return any(isinstance(function, relax.Function) for _, function in module.functions.items())


def whole_network(name: str, value: Any, target: Any) -> WholeNetwork:
    """The network that an exported program of PyTorch or an ``IRModule`` with Relax functions is,
    for TVM's ``target``.

    Operators are fused as TVM's own pipelines do it, a batch normalisation goes into the weights of
    the convolution right before it, and on a CPU these are left in whatever layout a schedule
    wants. Raises ``InvalidInputError`` for what TVM cannot import or lower.
    """
    module = _imported(value) if is_exported(value) else value
    if is_exported(value) and _is_training(module):
        raise InvalidInputError(
            "this PyTorch program was exported in training mode, where batch normalisations take "
            "their means from the batch: export model.eval()"
        )
    passes = relax.transform
    pipeline = tvm.transform.Sequential(
        [
            *([passes.FoldBatchnormToConv2D()] if _can_fold(module) else []),
            passes.DecomposeOpsForInference(),
            # Before these are lowered to what only a CPU runs.
            relax.backend.DispatchSampling(),
            relax.backend.DispatchSortScan(),
            # Without it an operator whose result has two names is not fused with the next.
            passes.CanonicalizeBindings(),
            passes.LegalizeOps(),
            passes.AnnotateTIROpPattern(),
            passes.FoldConstant(),
            passes.FuseOps(),
            passes.FuseTIR(),
            # A CPU's schedules may want weights in a layout of their own.
            *([passes.AttachAttrLayoutFreeBuffers()] if target.kind.name == "llvm" else []),
        ]
    )
    try:
        with target:
            return WholeNetwork(name, pipeline(_without_parameters(module)))
    except Exception as error:  # Its passes raise their own kinds, which differ by version.
        raise _not_lowered(error) from error


def extracted(network: WholeNetwork, target: Any) -> list[Operator]:
    """The distinct operators of ``network``.

    Raises ``InvalidInputError`` where TVM cannot tell them.
    """
    try:
        with target:
            tasks = ms.relax_integration.extract_tasks(network.module, target)
    except Exception as error:  # As above.
        raise _not_lowered(error) from error
    return [
        Operator(str(task.task_name), task.dispatched[0], int(task.weight), _came_scheduled(task))
        for task in tasks
    ]


def with_schedules(
    network: WholeNetwork, schedules: Iterable[tuple[Any, Any]], target: Any
) -> Scheduled:
    """``network`` with each of ``schedules``: a task's ``IRModule``, and the ``Schedule`` that was
    found for it. An operator without one stays as it came; on a GPU it gets one of TVM's rules.

    Raises whatever TVM raises where it cannot do that.
    """
    database = ms.database.MemoryDatabase()
    for mod, schedule in schedules:
        record = ms.database.TuningRecord(
            # The only one of its program, so that any time makes it the fastest.
            schedule.trace, database.commit_workload(mod), [1.0], target,
            entry_arguments(schedule.mod),
        )  # fmt: skip
        database.commit_tuning_record(record)
    with target, database, tvm.transform.PassContext(opt_level=3):
        module = relax.transform.MetaScheduleApplyDatabase()(network.module)
        functions = [f for _, f in module.functions.items() if isinstance(f, tvm.tirx.PrimFunc)]
        scheduled = sum(_is_marked(function) for function in functions)
        module = _with_weights_laid_out(module)
        if "gpu" in target.keys:
            from tvm.s_tir import dlight

            gpu = dlight.gpu
            rules = gpu.Matmul, gpu.GEMV, gpu.Reduction, gpu.GeneralReduction, gpu.Fallback
            module = dlight.ApplyDefaultSchedule(*(rule() for rule in rules))(module)
    return Scheduled(module, len(functions), scheduled)


def compiled(network: Scheduled, target: Any) -> Any:
    """The ``relax.VMExecutable`` of ``network``; raises whatever TVM raises where there is none."""
    # By default TVM would fuse what a GPU is to run once more, schedules or not.
    pipeline = relax.pipeline.default_build_pipeline()
    # The compiler of a GPU's code asks for the current target, and without one for the device.
    with target, tvm.transform.PassContext(opt_level=3):
        return tvm.compile(network.module, target=target, relax_pipeline=pipeline)


def _with_weights_laid_out(module: Any) -> Any:
    """``module`` with what only lays out constant weights done: here, once."""
    # TVM looks for such blocks in every program, and ends on one without any block, which a call of
    # its runtime has: those that lay out nothing stay apart meanwhile.
    others = {
        var: function
        for var, function in module.functions.items()
        if isinstance(function, tvm.tirx.PrimFunc) and PREPROCESSED not in function.script()
    }
    rest = {var: f for var, f in module.functions.items() if var not in others}
    made = tvm.IRModule(rest, attrs=module.attrs, global_infos=module.global_infos)
    made = relax.transform.SplitLayoutRewritePreproc()(made)
    for var, function in others.items():
        made[var] = function
    return relax.transform.FoldConstant()(made)


def arguments_of(network: WholeNetwork) -> tuple[str, list[Any]] | None:
    """The function that runs the network, and its arguments as those of ``argument_info``; ``None``
    where it is not clear which one does, or one is no tensor of constant shape."""
    functions = {
        str(var.name_hint): function
        for var, function in network.module.functions.items()
        if isinstance(function, relax.Function)
    }
    name = "main" if "main" in functions else next(iter(functions))
    if name != "main" and len(functions) > 1:
        return None
    tensors = [tensor_type(parameter) for parameter in functions[name].params]
    if None in tensors:
        return None
    return name, [["TENSOR", dtype, shape] for dtype, shape in filter(None, tensors)]


def _can_fold(module: Any) -> bool:
    """Whether TVM folds the batch normalisations of ``module`` rightly: it takes all for those of
    PyTorch, of single precision and with channels before rows and columns."""
    for call in _calls(module, "relax.nn.batch_norm"):
        known = tensor_type(call.args[0])
        if known is None or known[0] != "float32" or int(call.attrs.axis) != 1:
            return False
    return all(
        (call.attrs.data_layout, call.attrs.kernel_layout) == ("NCHW", "OIHW")
        for call in _calls(module, "relax.nn.conv2d")
    )


def _is_training(module: Any) -> bool:
    """Whether a batch normalisation of ``module``, as imported from PyTorch, is one in training."""
    return any(bool(call.attrs.training) for call in _calls(module, "relax.nn.batch_norm"))


def _calls(module: Any, operator: str) -> list[Any]:
    """All calls of an operator of Relax in ``module``."""
    found: list[Any] = []

    def look(expression: Any) -> None:
        if getattr(getattr(expression, "op", None), "name", "") == operator:
            found.append(expression)

    for _, function in module.functions.items():
        if isinstance(function, relax.Function):
            relax.analysis.post_order_visit(function, look)
    return found


def _without_parameters(module: Any) -> Any:
    """``module`` with all arguments of its functions alike: what TVM takes for weights among them
    it would have laid out by whoever calls it."""
    made = tvm.IRModule(dict(module.functions.items()), module.attrs, module.global_infos)
    for var, function in module.functions.items():
        if isinstance(function, relax.Function) and function.attrs:
            made[var] = function.without_attr("num_input")
    return made


def _imported(program: Any) -> Any:
    try:
        from tvm.relax.frontend.torch import from_exported_program
    except ImportError as error:
        raise MissingDependencyError.named("apache-tvm", "importing from PyTorch", "tvm") from error
    try:
        with warnings.catch_warnings():
            # Of torch about its own insides, while TVM copies the graph.
            warnings.simplefilter("ignore", FutureWarning)
            return from_exported_program(program)
    except Exception as error:  # An operator that TVM does not know: an AssertionError, and others.
        raise InvalidInputError(f"TVM cannot import this PyTorch program: {error}") from error


def _not_lowered(error: Exception) -> InvalidInputError:
    return InvalidInputError(f"TVM cannot make tasks of this network: {last_line(error)}")


def _came_scheduled(task: Any) -> bool:
    module = task.dispatched[0]
    # TVM's own search looks at the module, its rules (dlight) mark the function.
    return any(_is_marked(one) for one in (task.mod, module, *module.functions.values()))


def _is_marked(value: Any) -> bool:
    return bool(value.attrs and value.attrs.get(_SCHEDULED, False))
