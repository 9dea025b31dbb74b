"""benchmarks/gpu.py on a CPU with small networks: figures, reasons where there are none, and files after every row."""

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.skipif(find_spec("diffusers") is None, reason="diffusers is not installed")

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
TINY = ["--size", "tiny", "--device", "cpu"]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(FOLDER))
    yield import_module("gpu")
    for name in ("gpu", "table"):
        sys.modules.pop(name, None)


def test_pieces_give_figures_or_reasons(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = "v1 float32: parity call\nv1 bfloat16: call graph ladder comfy\nv2 bfloat16: offload vae"
    monkeypatch.setattr(gpu, "PLAN", plan)
    monkeypatch.setattr(gpu, "find_spec", lambda name: None if name == "comfy" else gpu)
    rows = {(row.piece, row.case): row for row in gpu.main([*TINY, "--to", str(tmp_path)])}
    parity = [row for row in rows.values() if row.piece == "parity"]
    assert len(parity) == 3 and all(row.value < 1e-4 for row in parity)
    call = rows["call", "v1 64² bfloat16, guided, eager"]
    assert call.value > 0 and call.note.endswith("TFLOP/s")
    assert 0 < rows["error", "v1 64² bfloat16, guided, against float32"].value < 0.1
    clip = rows["clip", "v2-acc 64² bfloat16, offload True"]
    assert clip.value > 0 and "encoded" in clip.note
    assert rows["vae", "v2 64² bfloat16, decoding, 4 at once"].unit == "ms a frame"
    reasons = {piece: rows[piece, "v1 64² bfloat16"].note for piece in ("graph", "ladder", "comfy")}
    assert reasons["graph"] == reasons["ladder"] == gpu.NO_CUDA and "ComfyUI" in reasons["comfy"]
    stored = json.loads((tmp_path / "gpu-cpu.json").read_text())
    assert len(stored["rows"]) == len(rows) and stored["torch"]
    assert all(str(row) in (tmp_path / "gpu-cpu.md").read_text() for row in rows.values())


def test_a_piece_that_fails_and_one_without_time_are_rows(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setitem(gpu.PIECES, "load", broken)
    notes = [row.note for row in gpu.main([*TINY, "--only", "load"])]
    assert set(notes) == {"out of memory"} and len(notes) == 4
    late = gpu.main([*TINY, "--only", "load,call", "--minutes", "-1"])
    assert {row.note for row in late} == {"no time left"} and {row.value for row in late} == {None}
