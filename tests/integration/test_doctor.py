"""The doctor sees what is missing and names the command that mends it."""

import json
from importlib.metadata import PackageNotFoundError

import pytest

from echomimic import choice
from echomimic.apps import doctor
from echomimic.apps.cli.main import run
from echomimic.presets import PRESETS


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """No real imports and no look for a GPU: they take seconds."""
    monkeypatch.setattr(doctor, "import_module", lambda name: None)
    monkeypatch.setattr(doctor, "_device", lambda: "no GPU found")
    monkeypatch.setattr(doctor, "version", lambda name: "1.2.3")
    monkeypatch.setattr(doctor, "_OTHER_CV2", ())
    monkeypatch.setattr(choice, "search_paths", lambda given=None: [])


@pytest.mark.usefixtures("light")
def test_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "mediapipe                1.2.3" in out
    assert "mesh                     ready" in out
    assert "GB memory" in out or "memory unknown" in out


@pytest.mark.usefixtures("light")
def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    health = json.loads(capsys.readouterr().out)
    assert health["event"] == "doctor"
    assert {"preset": "mesh", "ready": True, "mend": []} in health["presets"]
    assert health["cores"] >= 1


@pytest.mark.usefixtures("light")
def test_a_missing_package_and_its_remedy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def version(name: str) -> str:
        if name in ("mediapipe", "torch"):
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(doctor, "version", version)
    assert run(["doctor"]) == 2
    out = capsys.readouterr().out
    assert "not ready" in out
    assert "-m pip install 'echomimic'" in out
    assert doctor.examine().packages[-3].mend.endswith("-m pip install 'echomimic[diffusion]'")


@pytest.mark.usefixtures("light")
def test_a_missing_system_library_and_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> None:
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(doctor, "import_module", load)
    health = doctor.examine()
    assert not health.ready("mesh")
    assert health.presets[0].mend == ("apt-get install libgl1 libglib2.0-0",)


@pytest.mark.usefixtures("light")
def test_a_second_cv2_package_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_OTHER_CV2", ("opencv-python",))
    (warning,) = doctor.examine().warnings
    assert "pip uninstall opencv-python" in warning


@pytest.mark.usefixtures("light")
def test_missing_checkpoints_and_their_remedy() -> None:
    health = doctor.examine()
    found = {preset.preset: preset for preset in health.presets}
    assert set(found) == set(PRESETS)
    assert found["tiny"].ready
    assert found["v2-acc"].mend == ("echomimic weights fetch v2-acc",)
    assert health.ready("mesh")
