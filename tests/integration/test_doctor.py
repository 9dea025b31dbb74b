"""The doctor finds what is missing and names the command that installs it."""

import json
import os
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from echomimic import presets
from echomimic.apps import doctor
from echomimic.apps.cli.main import run
from echomimic.installation import install_command
from echomimic.presets import PRESETS


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """No real imports and no search for a GPU: they take seconds."""
    monkeypatch.setattr(doctor, "import_fault", lambda module: "")
    monkeypatch.setattr(doctor, "_device", lambda: "no GPU found")
    monkeypatch.setattr(doctor, "version", lambda name: "1.2.3")
    monkeypatch.setattr(doctor, "_CV2", doctor._CV2[:1])
    monkeypatch.setattr(presets, "search_paths", lambda given=None: [])


@pytest.mark.usefixtures("light")
def test_doctor_reports_a_complete_installation(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "ai-edge-litert           1.2.3" in out
    assert "mesh                     ready" in out
    assert "GB memory" in out or "memory unknown" in out


@pytest.mark.usefixtures("light")
def test_doctor_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    health = json.loads(capsys.readouterr().out)
    assert health["event"] == "doctor"
    assert {"preset": "mesh", "ready": True, "fix": []} in health["presets"]
    assert health["cores"] >= 1


@pytest.mark.usefixtures("light")
def test_a_missing_package_is_reported_with_the_fix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def version(name: str) -> str:
        if name in ("ai-edge-litert", "torch"):
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(doctor, "version", version)
    assert run(["doctor"]) == 2
    out = capsys.readouterr().out
    assert "not ready" in out
    assert install_command() in out
    assert doctor.examine().packages[-3].fix == install_command("diffusion")


@pytest.mark.usefixtures("light")
def test_a_missing_system_library_is_reported_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"
    monkeypatch.setattr(doctor, "import_fault", lambda module: fault if module == "cv2" else "")
    health = doctor.examine()
    assert not health.ready("mesh")
    (fix,) = health.presets[0].fix
    assert fix.endswith("-m pip install opencv-python-headless")


@pytest.mark.usefixtures("light")
def test_a_second_cv2_package_gives_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_CV2", ("opencv-python-headless", "opencv-python"))
    (warning,) = doctor.examine().warnings
    assert "pip uninstall opencv-python-headless opencv-python &&" in warning


@pytest.mark.usefixtures("light")
def test_missing_network_files_are_reported_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "missing_networks", lambda: ["palm", "pose"])
    health = doctor.examine()
    (package,) = (package for package in health.packages if package.name == "landmark networks")
    assert package.wrong == "2 of 9 files are missing" and package.fix == "echomimic models fetch"
    assert health.ready("mesh")  # they are fetched at first use


@pytest.mark.usefixtures("light")
def test_missing_checkpoints_are_reported_with_the_fix() -> None:
    health = doctor.examine()
    found = {preset.preset: preset for preset in health.presets}
    assert set(found) == set(PRESETS)
    assert found["tiny"].ready
    assert found["v2-acc"].fix == ("echomimic weights fetch v2-acc",)
    assert health.ready("mesh")


@pytest.mark.parametrize(
    ("code", "seconds", "words"),
    [
        ("raise RuntimeError('numpy.core.multiarray failed')", 120, "RuntimeError: numpy.core.multiarray failed"),
        ("import os; os.kill(os.getpid(), 9)", 120, "code -9"),
        ("import time; time.sleep(600)", 0.5, "no answer within 0.5 s"),
    ],
)
def test_an_import_that_fails_in_any_way_is_reported(
    code: str, seconds: float, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken_package.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor, "PROBE_SECONDS", seconds)
    assert words in doctor.import_fault("broken_package")


@pytest.mark.parametrize(
    ("script", "seconds", "device"),
    [
        ("sleep 60", 0.5, "no GPU (nvidia-smi fails: no answer within 0.5 s)"),
        (
            "echo 'driver/library version mismatch' >&2; exit 18",
            120,
            "no GPU (nvidia-smi fails: driver/library version mism",
        ),
        ("echo NVIDIA A10", 120, "NVIDIA A10"),
        ("exit 0", 120, "no GPU found"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for nvidia-smi")
def test_the_doctor_survives_a_driver_that_hangs(
    script: str, seconds: float, device: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "DRIVER_SECONDS", seconds)
    assert doctor._device().startswith(device)
