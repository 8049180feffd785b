from __future__ import annotations

from pathlib import Path

import pytest

from wmhub.hardware.machine import CpuFacts, read_cpu

XEON = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: {model}
model name\t: Intel(R) Xeon(R) Processor
cpu MHz\t\t: 2000.000
flags\t\t: fpu avx avx2 {flags}

processor\t: 1
model\t\t: 1
"""


CACHES = [
    (1, "Data", "48K"),
    (1, "Instruction", "32K"),
    (2, "Unified", "2048K"),
    (3, "Unified", "105M"),
]


def machine(root: Path, cpuinfo: str, *, cpus: int = 2, threads_per_core: int = 1) -> Path:
    """A file system that shows a machine."""
    (root / "proc").mkdir(parents=True)
    (root / "proc/cpuinfo").write_text(cpuinfo)
    (root / "proc/meminfo").write_text("MemTotal:       24684084 kB\nMemFree: 1 kB\n")
    for number in range(cpus):
        cpu = root / f"sys/devices/system/cpu/cpu{number}"
        (cpu / "topology").mkdir(parents=True)
        (cpu / "topology/core_id").write_text(f"{number // threads_per_core}\n")
        (cpu / "topology/physical_package_id").write_text("0\n")
        for index, (level, kind, size) in enumerate(CACHES):
            cache = cpu / f"cache/index{index}"
            cache.mkdir(parents=True)
            (cache / "level").write_text(f"{level}\n")
            (cache / "type").write_text(f"{kind}\n")
            (cache / "size").write_text(f"{size}\n")
    return root


def read(root: Path, cpus: int = 2) -> CpuFacts:
    return read_cpu(root, frozenset(range(cpus)))


def test_an_intel_server(tmp_path: Path) -> None:
    facts = read(machine(tmp_path, XEON.format(model=0xCF, flags="avx512f avx512_vbmi2 amx_tile")))
    assert facts.microarchitecture == "emeraldrapids"
    assert facts.microarchitecture_by_flags == "sapphirerapids"
    assert (facts.cores, facts.threads, facts.quota) == (2, 2, None)
    assert (facts.l1_bytes, facts.l2_bytes, facts.l3_bytes) == (48 << 10, 2 << 20, 105 << 20)
    assert facts.clock_hz == 2e9
    assert facts.memory_bytes == 24684084 * 1024
    assert facts.vector_bits == 512
    assert facts.governor is None


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (XEON.format(model=0xA7, flags="avx512f"), "rocketlake"),
        (XEON.format(model=0x55, flags="avx512f"), "skylake-avx512"),
        (XEON.format(model=0x55, flags="avx512f avx512_vnni"), "cascadelake"),
        (XEON.format(model=0x55, flags="avx512f avx512_vnni avx512_bf16"), "cooperlake"),
        (XEON.format(model=0x3F, flags=""), "haswell"),
        (XEON.format(model=0xFF, flags=""), "x86-64"),
        ("vendor_id: AuthenticAMD\ncpu family: 23\nmodel: 49\n", "znver2"),
        ("vendor_id: AuthenticAMD\ncpu family: 25\nmodel: 1\n", "znver3"),
        ("vendor_id: AuthenticAMD\ncpu family: 25\nmodel: 17\n", "znver4"),
        ("vendor_id: AuthenticAMD\ncpu family: 26\nmodel: 2\n", "znver5"),
        ("CPU implementer: 0x41\nCPU part: 0xd0c\nFeatures: asimd\n", "neoverse-n1"),
        ("CPU implementer: 0x41\nCPU part: 0xfff\n", "aarch64"),
    ],
)
def test_names_are_those_of_llvm(tmp_path: Path, cpuinfo: str, name: str) -> None:
    assert read(machine(tmp_path, cpuinfo)).microarchitecture == name


_TILES = "avx512f amx_tile avx512_bf16 avx512_fp16"


@pytest.mark.parametrize(
    ("model", "flags", "name", "disguise"),
    [
        (0xA7, _TILES, "sapphirerapids", "rocketlake"),
        (0x6A, f"{_TILES} amx_fp16", "graniterapids", "icelake-server"),
        (0x55, f"avx512_vnni {_TILES}", "sapphirerapids", "cooperlake"),
        (0xCF, _TILES, "emeraldrapids", None),
        (0xFF, _TILES, "x86-64", None),  # LLVM may know a model that we do not.
        (0xA7, "avx512f amx_tile", "rocketlake", None),  # LLVM takes half floats for granted.
    ],
)
def test_a_model_that_a_hypervisor_disguises(
    tmp_path: Path, model: int, flags: str, name: str, disguise: str | None
) -> None:
    facts = read(machine(tmp_path, XEON.format(model=model, flags=flags)))
    assert (facts.microarchitecture, facts.disguised_as) == (name, disguise)


@pytest.mark.parametrize(
    ("part", "flags", "length", "bits"),
    [
        ("0xd40", "asimd sve", None, 256),  # Neoverse V1
        ("0xd49", "asimd sve sve2", None, 128),  # Neoverse N2
        ("0xd4f", "asimd sve sve2", "64", 128),  # Neoverse V2, as Grace has it
        ("0xfff", "asimd sve", "64", 512),
        ("0xfff", "asimd sve", "no number", 128),
        ("0xfff", "asimd sve", None, 128),
        ("0xfff", "asimd", "32", 128),
    ],
)
def test_scalable_vectors_are_as_wide_as_the_cpu_has_them(
    tmp_path: Path, part: str, flags: str, length: str | None, bits: int
) -> None:
    info = f"CPU implementer: 0x41\nCPU part: {part}\nFeatures: {flags}\n"
    root = machine(tmp_path, info)
    if length is not None:
        (root / "proc/sys/abi").mkdir(parents=True)
        (root / "proc/sys/abi/sve_default_vector_length").write_text(f"{length}\n")
    assert read(root).vector_bits == bits


def test_two_threads_of_a_core_are_one_core(tmp_path: Path) -> None:
    info = XEON.format(model=0x3F, flags="")
    facts = read(machine(tmp_path, info, cpus=8, threads_per_core=2), 8)
    assert (facts.cores, facts.threads) == (4, 8)


def test_cores_of_two_clusters_may_have_one_number(tmp_path: Path) -> None:
    """Arm systems number the cores of each cluster from 0; only siblings are threads of one."""
    root = machine(tmp_path, "CPU implementer: 0x41\nCPU part: 0xd0c\n", cpus=4)
    for number in range(4):
        topology = root / f"sys/devices/system/cpu/cpu{number}/topology"
        (topology / "core_id").write_text(f"{number % 2}\n")
        (topology / "thread_siblings_list").write_text(f"{number}\n")
    assert (read(root, 4).cores, read(root, 4).threads) == (4, 4)


@pytest.mark.parametrize(
    ("text", "quota", "cores"),
    [("150000 100000", 1.5, 2), ("50000 100000", 0.5, 1), ("max 100000", None, 4), ("", None, 4)],
)
def test_a_container_limits_the_cores(
    tmp_path: Path, text: str, quota: float | None, cores: int
) -> None:
    root = machine(tmp_path, XEON.format(model=0x3F, flags=""), cpus=4)
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/cpu.max").write_text(text)
    facts = read(root, 4)
    assert (facts.quota, facts.cores) == (quota, cores)


def test_frequency_scaling_is_seen(tmp_path: Path) -> None:
    root = machine(tmp_path, XEON.format(model=0x3F, flags=""))
    folder = root / "sys/devices/system/cpu/cpu0/cpufreq"
    folder.mkdir()
    (folder / "scaling_governor").write_text("powersave\n")
    (folder / "cpuinfo_max_freq").write_text("3500000\n")
    facts = read(root)
    assert (facts.governor, facts.clock_hz) == ("powersave", 3.5e9)


def test_an_empty_file_system_is_survived(tmp_path: Path) -> None:
    facts = read(tmp_path)
    assert facts.cores == 2
    assert (facts.l1_bytes, facts.l3_bytes, facts.memory_bytes, facts.clock_hz) == (0, 0, 0, None)


def test_this_machine_can_be_read() -> None:
    facts = read_cpu()
    assert 1 <= facts.cores <= facts.threads
    assert facts.memory_bytes > 0


@pytest.mark.parametrize(
    ("file", "text", "gib"),
    [
        ("memory.max", "8589934592", 8),
        ("memory.max", "max", None),
        ("memory/memory.limit_in_bytes", "4294967296", 4),
        ("memory/memory.limit_in_bytes", "9223372036854771712", None),
    ],
)
def test_a_container_limits_the_memory(
    tmp_path: Path, file: str, text: str, gib: int | None
) -> None:
    root = machine(tmp_path, XEON.format(model=0x3F, flags=""))
    path = root / "sys/fs/cgroup" / file
    path.parent.mkdir(parents=True)
    path.write_text(f"{text}\n")
    assert read(root).memory_bytes == (24684084 * 1024 if gib is None else gib << 30)


def test_threads_that_a_container_grants_no_time_are_of_no_use(tmp_path: Path) -> None:
    root = machine(tmp_path, XEON.format(model=0x3F, flags=""), cpus=8, threads_per_core=2)
    assert read(root, 8).usable_threads == 8
    (root / "sys/fs/cgroup").mkdir(parents=True)
    for quota, threads in (("250000", 2), ("50000", 1), ("1600000", 8)):
        (root / "sys/fs/cgroup/cpu.max").write_text(f"{quota} 100000")
        assert read(root, 8).usable_threads == threads


def test_a_machine_is_shared_where_threads_cannot_be_counted_from_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = XEON.format(model=0x3F, flags="")
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    plain = machine(tmp_path / "plain", info, cpus=4)
    assert not read(plain, 4).is_shared
    assert read(plain, 2).is_shared
    assert read(machine(tmp_path / "pairs", info, cpus=4, threads_per_core=2), 4).is_shared


def test_the_least_limit_of_all_groups_around_counts(tmp_path: Path) -> None:
    root = machine(tmp_path, XEON.format(model=0xCF, flags=""), cpus=16)
    (root / "proc/self").mkdir()
    (root / "proc/self/cgroup").write_text("0::/user.slice/run-7.scope\n")
    own = root / "sys/fs/cgroup/user.slice/run-7.scope"
    own.mkdir(parents=True)
    (own / "cpu.max").write_text("max 100000\n")
    (own / "memory.max").write_text(f"{8 << 30}\n")
    (own.parent / "cpu.max").write_text("200000 100000\n")
    (own.parent / "memory.max").write_text("max\n")
    facts = read(root, 16)
    assert (facts.quota, facts.cores, facts.memory_bytes) == (2.0, 2, 8 << 30)


def test_groups_of_the_first_version_have_a_tree_for_each_controller(tmp_path: Path) -> None:
    root = machine(tmp_path, XEON.format(model=0xCF, flags=""), cpus=16)
    (root / "proc/self").mkdir()
    text = "4:cpu,cpuacct:/job\n3:cpuset:/other\n2:memory:/job\n1:name=systemd:/x\nodd\n"
    (root / "proc/self/cgroup").write_text(text)
    for controller, name, limit in [
        ("cpu", "cpu.cfs_quota_us", 150_000),
        ("cpu", "cpu.cfs_period_us", 100_000),
        ("memory", "memory.limit_in_bytes", 4 << 30),
    ]:
        group = root / "sys/fs/cgroup" / controller / "job"
        group.mkdir(parents=True, exist_ok=True)
        (group / name).write_text(f"{limit}\n")
    facts = read(root, 16)
    assert (facts.quota, facts.cores, facts.memory_bytes) == (1.5, 2, 4 << 30)
