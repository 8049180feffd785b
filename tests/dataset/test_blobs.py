from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

from wmhub.dataset.blobs import blob_id


def test_a_blob_id_is_gits(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.log", tmp_path / "a.xz"
    plain.write_text("a line\n" * 1000)
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    command = ["git", "hash-object", plain, packed]
    ids = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert [blob_id(path, as_is=True) for path in (plain, packed)] == ids
    assert blob_id(packed) == ids[0]
