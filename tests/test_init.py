"""The public surface, what importing costs, and the direction of imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import wmhub

PACKAGE = Path(wmhub.__file__).parent
HEAVY = ("torch", "tvm", "datasets", "huggingface_hub", "pyarrow", "matplotlib", "pandas", "numpy")

#: Rooms in the order of the house: each may import those before it, never those after it.
#: A room is a module or a package directly below ``wmhub``.
ORDER = (
    "errors", "names", "units", "code_digest", "flushing", "holding", "interrupts", "children",
    "garbage", "hardware", "records",
    "logs", "program", "tvm_graph", "tvm_json", "nest", "actions", "trajectory", "replay",
    "markdown", "dataset", "collection", "model",
    "checkpoint", "evaluator", "training", "hub", "load", "tvm_intrinsics", "tvm_compat",
    "tvm_callbacks",
    "measure", "search", "live_dataset", "live_collection", "remeasure",
    "doctor", "bench", "cli",
)  # fmt: skip

#: Imports against the order that are meant, each inside a function.
ALLOWED = {
    ("evaluator", "search"): "an evaluator hands out cost models, loaded when they are asked for",
    ("hardware", "tvm_compat"): "the probe asks LLVM for the CPU's name where TVM is installed",
    ("training", "hub"): "evaluate takes names as from_pretrained does",
    ("training", "measure"): "the baseline that is TVM's own model replays traces in TVM",
    ("training", "tvm_compat"): "so it asks TVM for features, programs and targets",
}


def test_the_public_names_are_these() -> None:
    assert sorted(wmhub.__all__) == sorted(
        [
            "DatasetId", "HardwareKey", "MeasureRecord", "ModelId", "WmhubError", "__version__",
            "collect", "contribute", "datasets", "demo", "evaluate", "from_pretrained",
            "load_dataset", "lock", "models", "push", "schedule", "train", "tune",
        ]
    )  # fmt: skip


def test_every_public_name_can_be_had() -> None:
    for name in wmhub.__all__:
        assert getattr(wmhub, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = wmhub.nonsense


_HELP = "import wmhub.cli; wmhub.cli.cli.main(['--help'], standalone_mode=False)"


@pytest.mark.parametrize("what", ["import wmhub", _HELP])
def test_importing_and_help_load_nothing_heavy(what: str) -> None:
    code = f"{what}\nimport sys\nprint('loaded', *[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded"


@pytest.mark.parametrize("start", ["-c", "-m", "script"])
def test_import_datasets_is_the_library(start: str, tmp_path: Path) -> None:
    # The repository has a data folder of that name; run where it could shadow the library.
    root = PACKAGE.parent
    assert not (root / "datasets" / "__init__.py").exists()
    code = "import datasets\nprint(datasets.__version__)\n"
    script = tmp_path / "uses_datasets.py"
    script.write_text(code)
    commands = {
        "-c": [sys.executable, "-c", code],
        "-m": [sys.executable, "-m", "uses_datasets"],
        "script": [sys.executable, str(script)],
    }
    done = subprocess.run(
        commands[start],
        cwd=root,
        env={**__import__("os").environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split(".")[0].isdigit()


def test_import_datasets_is_the_library_under_pytest() -> None:
    import datasets

    assert datasets.__version__


def _imports(path: Path) -> set[str]:
    """Rooms that a module imports, type checking aside."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wmhub."):
            found.add(str(node.module).split(".")[1])
        if isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("wmhub.")}
    return found


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_every_package_is_installed() -> None:
    text = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    named = re.search(r"^packages = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    assert named is not None
    folders = {path.parent.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("__init__.py")}
    assert set(re.findall(r'"(.+?)"', named[1])) == {".".join(path.parts) for path in folders}


def test_imports_point_one_way() -> None:
    wrong = []
    for path in _modules():
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room in ("__init__", "__main__"):
            continue
        assert room in ORDER, f"{path}: say where {room} stands in the order of the house"
        for other in _imports(path):
            later = ORDER.index(other) > ORDER.index(room)
            if later and (room, other) not in ALLOWED:
                wrong.append(f"{path.relative_to(PACKAGE)} imports wmhub.{other}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("tvm", {"tvm_compat", "measure", "live_collection", "remeasure", "search", "doctor",
                 "bench"}),
        ("huggingface_hub", {"hub"}),
        ("torch", {"model", "checkpoint", "evaluator", "training", "cli", "measure", "search",
                   "doctor", "bench", "hardware"}),
    ],
)  # fmt: skip
def test_a_library_is_imported_in_its_rooms_only(library: str, rooms: set[str]) -> None:
    for path in _modules():
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            if any(name == library or name.startswith(f"{library}.") for name in names):
                assert room in rooms, f"{path} imports {library}"


SCORING = (
    "errors.py", "names.py", "records.py", "program.py", "tvm_graph.py", "tvm_json.py", "nest.py",
    "actions.py", "trajectory.py", "checkpoint.py", "evaluator.py", "hardware/profile.py",
    "search/auto_scheduler.py", "search/learner.py", "search/posterior.py",
    *sorted(str(p.relative_to(PACKAGE)) for room in ("model", "replay")
            for p in (PACKAGE / room).glob("*.py")),
)  # fmt: skip


@pytest.mark.parametrize("name", SCORING)
def test_the_scoring_path_keeps_to_the_grammar_of_python_3_8(name: str) -> None:
    """A classic AutoScheduler lives in Python 3.8 to 3.11: no newer grammar, no newer runtime."""
    text = (PACKAGE / name).read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 8))
    assert "from __future__ import annotations" in text or len(tree.body) <= 1
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = {k.arg for k in node.keywords}
            called = ast.unparse(node.func)
            assert not (called == "zip" and "strict" in given), f"{name}:{node.lineno}"
            assert not (called.endswith("dataclass") and "slots" in given), f"{name}:{node.lineno}"
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("removeprefix", "removesuffix"), f"{name}:{node.lineno}"


@pytest.mark.parametrize("name", SCORING)
def test_the_scoring_path_evaluates_no_new_types(name: str) -> None:
    """``list[int]`` and ``X | None`` may stand in annotations, which are not evaluated, only."""
    tree = ast.parse((PACKAGE / name).read_text(encoding="utf-8"))
    builtins = ("list", "dict", "tuple", "set", "frozenset", "type",
                "Callable", "Sequence", "Mapping", "Iterator", "Iterable")  # fmt: skip
    hidden: set[int] = set()
    for node in ast.walk(tree):
        annotations: list[ast.AST | None] = []
        if isinstance(node, ast.AnnAssign):
            annotations = [node.annotation]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = [*node.args.args, *node.args.kwonlyargs, *node.args.posonlyargs]
            extra = [a for a in (node.args.vararg, node.args.kwarg) if a]
            annotations = [node.returns, *[a.annotation for a in [*arguments, *extra]]]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            annotations = list(node.body)
        for annotation in annotations:
            hidden |= {id(inner) for inner in ast.walk(annotation)} if annotation else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            evaluated = id(node) not in hidden and node.value.id in builtins
            assert not evaluated, f"{name}:{node.lineno}: {ast.unparse(node)}"
