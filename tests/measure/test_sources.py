from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from wmhub.errors import InvalidInputError, MissingInputError, UnknownNameError
from wmhub.measure import zoo
from wmhub.measure.sources import extract, load_workloads, workloads_of, zoo_names

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")

NETWORK = """
import torch

net = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 3, padding=1),
    torch.nn.BatchNorm2d(8),
    torch.nn.ReLU(),
    torch.nn.Flatten(),
    torch.nn.Linear(8 * 36, 10),
    torch.nn.GELU(),
).eval()
program = torch.export.export(net, (torch.randn(1, 3, 6, 6),))
"""


def test_the_zoo_by_name_network_glob_and_as_a_whole() -> None:
    assert zoo_names("matmul-k8-n8-m8") == ["matmul-m8-n8-k8"]
    assert "conv2d-n1-h56-w56-ci64-co64-k3-s1-p1-bn-relu" in zoo_names("resnet18")
    assert set(zoo_names("zoo")) | set(zoo_names("zoo:held-out")) == set(zoo.names())
    softmax = zoo_names("softmax-*")
    assert softmax
    assert not zoo.HELD_OUT & set(softmax)


def test_what_is_nowhere_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="resnet18"):
        load_workloads("resnet19")
    with pytest.raises(UnknownNameError, match="matches no workload"):
        load_workloads("nothing-*")
    with pytest.raises(MissingInputError, match="no such file"):
        load_workloads(str(tmp_path / "absent.py"))


def test_a_program_that_cannot_be_taken_costs_the_others_nothing(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "two.py"
    raw = "raw = torch.export.export(net.train(), (torch.randn(2, 3, 6, 6),))\n"
    path.write_text(NETWORK + raw)
    found = load_workloads(str(path))
    assert [network.name for network in found.networks] == ["program"]
    assert "in training mode" in found.skipped["raw"]
    path.write_text(NETWORK.partition("program")[0] + raw)
    with pytest.raises(InvalidInputError, match=r"two\.py: .*raw: .*in training mode"):
        load_workloads(str(path))


def test_a_serialised_module_comes_back(tmp_path: Path) -> None:
    from wmhub.measure.programs import save_program
    from wmhub.tvm_compat import tvm

    path = tmp_path / "mine.json"
    path.write_text(save_program(zoo.build("matmul-m8-n8-k8")))
    (loaded,) = load_workloads(str(path)).workloads
    assert loaded.name == "mine"
    tvm.ir.assert_structural_equal(loaded.mod, zoo.build("matmul-m8-n8-k8"))


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", '{"root_index": 0, "nodes": []}', "\0"])
def test_a_damaged_module_names_its_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "damaged.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match="damaged"):
        load_workloads(str(path))


def test_printed_tvmscript_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "printed.py"
    path.write_text(zoo.build("matmul-m8-n8-k8").script())
    (loaded,) = load_workloads(str(path)).workloads
    assert loaded.name == "printed"
    assert [str(var.name_hint) for var in loaded.mod.get_global_vars()] == ["main"]


def test_a_python_file_gives_what_it_leaves_in_its_variables(tmp_path: Path) -> None:
    path = tmp_path / "two.py"
    path.write_text(
        "from wmhub.measure import zoo\n"
        "first = zoo.build('matmul-m8-n8-k8')\n"
        "second = zoo.build('softmax-m8-n8')\n"
        "again = first\n"
        "other = 3\n"
    )
    assert [loaded.name for loaded in load_workloads(str(path)).workloads] == ["first", "second"]


def test_a_python_file_imports_what_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lies_beside.py").write_text("NAME = 'softmax-m8-n8'\n")
    # Not in place of what is installed.
    (tmp_path / "numpy.py").write_text("raise ValueError\n")
    path = tmp_path / "importing.py"
    path.write_text(
        "import lies_beside\nimport numpy\nfrom wmhub.measure import zoo\n"
        "found = zoo.build(lies_beside.NAME)\n"
    )
    before = list(sys.path)
    assert [loaded.name for loaded in load_workloads(str(path)).workloads] == ["found"]
    assert sys.path == before
    # A script that tunes a file beside itself, and a file that looks after the path by itself.
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "numpy.py").unlink()
    before = list(sys.path)
    load_workloads(str(path))
    assert sys.path == before
    monkeypatch.undo()
    path.write_text(f"import sys\nsys.path.remove({str(tmp_path)!r})\n" + path.read_text())
    before = list(sys.path)
    sys.modules.pop("lies_beside")
    with pytest.raises(InvalidInputError, match="No module named 'lies_beside'"):
        load_workloads(str(path))
    assert sys.path == before


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"import nothing_there", "ModuleNotFoundError"),
        (b"import os\nraise ValueError('no')", "ValueError"),
        (b"import sys\nsys.exit(0)", "SystemExit: 0"),
        (b"# caf\xe9\n", "UnicodeDecodeError"),
    ],
)
def test_a_python_file_that_fails_says_why(tmp_path: Path, text: bytes, error: str) -> None:
    path = tmp_path / "failing.py"
    path.write_bytes(text)
    with pytest.raises(InvalidInputError, match=rf"failing\.py: {error}"):
        load_workloads(str(path))


def test_a_python_file_without_workloads_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.py"
    path.write_text("import os\n")
    with pytest.raises(InvalidInputError, match="no IRModule"):
        load_workloads(str(path))


def test_a_pytorch_program_becomes_its_fused_tasks(tmp_path: Path) -> None:
    path = tmp_path / "network.py"
    path.write_text(NETWORK)
    names = sorted(loaded.name for loaded in load_workloads(str(path)).workloads)
    assert len(names) == 3
    assert any("conv2d" in name for name in names)
    assert any("matmul" in name and "gelu" in name for name in names)


def test_what_is_no_workload_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="not int"):
        workloads_of(3)


def test_workloads_of_several_sources_have_distinct_names(tmp_path: Path) -> None:
    for folder, shape in (("a", "matmul-m8-n8-k8"), ("b", "matmul-m8-n8-k16")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text(zoo.build(shape).script())
    specs = [str(tmp_path / folder / "same.py") for folder in "ab"]
    found = extract([*specs, "matmul-m8-n8-k8", "matmul-n8-m8-k8"]).workloads
    assert [item.name for item in found] == ["same", "same-2", "matmul-m8-n8-k8"]


def test_a_number_that_a_name_has_already_is_given_to_no_other(tmp_path: Path) -> None:
    specs = []
    for number, name in enumerate(("a", "a", "a-2")):
        specs.append(tmp_path / str(number) / f"{name}.py")
        specs[-1].parent.mkdir()
        specs[-1].write_text(zoo.build(f"matmul-m8-n8-k{8 << number}").script())
    names = [item.name for item in extract([str(spec) for spec in specs]).workloads]
    assert names == ["a", "a-2", "a-2-2"]


PARTLY = """
from tvm import IRModule, relax, te
from tvm.script import ir as I, tirx as T

n = te.var("n", "int64")
x, y = te.placeholder((n,), name="x"), te.placeholder((8,), name="y")


@I.ir_module
class Blockless:
    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((16,), "float32")):
        T.evaluate(T.call_extern("int32", "abs", 1))


module = IRModule({
    "fine": te.create_prim_func([y, te.compute((8,), lambda i: y[i] + 1.0)]),
    "symbolic": te.create_prim_func([x, te.compute((n,), lambda i: x[i] + 1.0)]),
    "blockless": Blockless["main"],
    "puts": relax.ExternFunc("puts"),
})
del Blockless  # It would be a workload by itself.
"""


def test_what_no_search_can_take_is_left_out_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "partly.py"
    path.write_text(PARTLY)
    found = load_workloads(str(path))
    assert [item.name for item in found.workloads] == ["fine"]
    assert found.skipped.keys() == {"symbolic", "blockless", "puts"}
    assert "constant shape" in found.skipped["symbolic"]
    assert "it holds no block" in found.skipped["blockless"]
    assert "ExternFunc is no program" in found.skipped["puts"]
    assert extract([str(path)]).skipped == found.skipped
    path.write_text(PARTLY.replace("(8,)", "(n,)"))
    with pytest.raises(InvalidInputError, match=r"that can be tuned: .*puts: ExternFunc"):
        load_workloads(str(path))


def test_a_symbolic_operator_of_a_network_costs_the_others_nothing(tmp_path: Path) -> None:
    path = tmp_path / "network.py"
    path.write_text("""
from tvm.script import ir as I, relax as R


@I.ir_module
class Net:
    @R.function
    def main(x: R.Tensor(("n", 16), "float32"), w: R.Tensor((16, 16), "float32")):
        with R.dataflow():
            a = R.matmul(x, w)
            b = R.matmul(w, w)
            R.output(a, b)
        return (a, b)
""")
    found = load_workloads(str(path))
    assert (len(found.workloads), len(found.skipped)) == (1, 1)


def test_a_class_of_functions_and_a_dataclass_find_their_module(tmp_path: Path) -> None:
    from wmhub.tvm_compat import tvm

    x = tvm.te.placeholder((8,), name="x", dtype="float32")
    y = tvm.te.compute((8,), lambda i: x[i] * 2.0, name="y")
    script = tvm.IRModule({"main": tvm.te.create_prim_func([x, y])}).script()
    body = script[script.index("@I.ir_module") :]
    path = tmp_path / "written.py"
    path.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        f"{chr(10).join(line[2:] for line in script.splitlines() if line.startswith('# from'))}\n"
        f"@dataclass\nclass Size:\n    n: int = 8\n\n{body}\n"
    )
    (found,) = load_workloads(str(path)).workloads
    assert found.name == "Module"


def test_a_file_whose_name_is_no_text_has_workloads_with_one(tmp_path: Path) -> None:
    from wmhub.measure.programs import save_program

    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.json"))
    path.write_text(save_program(zoo.build("matmul-m8-n8-k8")))
    (loaded,) = load_workloads(str(path)).workloads
    assert loaded.name == "caf\N{REPLACEMENT CHARACTER}"


def test_a_network_that_tvm_cannot_lower_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.tvm_compat import meta_schedule as ms

    def fails(*_: object) -> None:
        raise RuntimeError("Check failed: no such op")

    monkeypatch.setattr(ms.relax_integration, "extract_tasks", fails)
    path = tmp_path / "network.py"
    path.write_text(NETWORK)
    with pytest.raises(InvalidInputError, match=r"cannot make tasks of this network: .*no such op"):
        load_workloads(str(path))


def test_what_a_network_has_scheduled_already_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.tvm_compat import meta_schedule as ms

    real = ms.relax_integration.extract_tasks

    def one_is_done(*given: object) -> list[object]:
        first, *others = real(*given)
        done = first.mod.with_attr("tirx.is_scheduled", True)
        return [ms.ExtractedTask(first.task_name, done, first.target, first.dispatched, 1), *others]

    path = tmp_path / "network.py"
    path.write_text(NETWORK)
    all_of_it = load_workloads(str(path)).workloads
    monkeypatch.setattr(ms.relax_integration, "extract_tasks", one_is_done)
    found = load_workloads(str(path))
    assert len(found.workloads) == len(all_of_it) - 1
    assert list(found.skipped.values()) == ["it is scheduled already"]
