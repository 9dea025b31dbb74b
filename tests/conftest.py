"""What the tests share: a portrait, a voice, the sample data beside the checkout where it is there."""

import gc
import os
import re
import wave
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from echomimic.data import demo_portrait
from echomimic.landmarks.face_quality import FaceQuality, FindLandmarks, measure_quality
from echomimic.types import Floats, Picture

os.environ.setdefault("MPLBACKEND", "Agg")
if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the processors
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if find_spec("hypothesis"):
    from hypothesis import HealthCheck, settings

    # the same examples in every run, and none that fails because the machine is busy
    settings.register_profile(
        "tests", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
    )
    settings.load_profile("tests")

pytest_plugins = ("helpers.small_networks",)


def shared_folder() -> Path | None:
    """The folder with sample data: ECHOMIMIC_SHARED, or `shared` beside the checkout; None where neither is there."""
    named = os.environ.get("ECHOMIMIC_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    return folder if (folder / "data").is_dir() else None


REQUIREMENTS = {"browser": "chromium|playwright|axe", "shared": "no sample data", "torch": r"\btorch\b|diffusers"}
"""What ECHOMIMIC_REQUIRE may name, and the reasons for which its tests are skipped where it is absent."""


@contextmanager
def garbage_kept() -> Iterator[None]:
    """No garbage collection meanwhile: it takes longer than the work itself where many objects are made that stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage meanwhile, and never look at the modules that were imported."""
    with garbage_kept():
        result = yield
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)  # a tenth of a run goes by at the usual 700
    return result


TOGETHER = {
    "pages": r"tests/browser/",
    "training": r"/test_(train_(?!articulation)|gpu_benchmark|diffusion_(device|engine|waits))",
}
"""Files whose tests run in one process: they share a browser and a server, or what PyTorch imports to train."""


def scope_of(nodeid: str) -> str:
    """The tests that run in the same process as this one, under `--dist loadfile`: those of its file, or more files."""
    path = nodeid.split("::", 1)[0]
    return next((name for name, files in TOGETHER.items() if re.search(files, path)), path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute tests by `scope_of`."""
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

    scheduling = LoadFileScheduling(config, log)
    scheduling._split_scope = scope_of
    return scheduling if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whole runs as slow, repeat a browser test that fails once, and skip what needs sample data without it.

    The largest parts come first, since each runs in one process.
    """
    items.sort(key=lambda item: scope_of(item.nodeid) not in TOGETHER)
    skip = pytest.mark.skip(reason="no sample data: set ECHOMIMIC_SHARED to its folder")
    for item in items:
        if {"integration", "browser"} & set(item.path.parts):
            item.add_marker(pytest.mark.slow)
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.flaky(reruns=1))
        if shared_folder() is None and item.get_closest_marker("shared"):
            item.add_marker(skip)


def skip_reasons(reports: list[pytest.TestReport]) -> Counter[str]:
    """Number of skipped tests by reason."""
    reasons = (report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr) for report in reports)
    return Counter(reason.removeprefix("Skipped: ") for reason in reasons)


def missing_requirements(reasons: Counter[str], required: str) -> list[str]:
    """Reasons of skips that must not happen, since `required` (comma-separated names) says that the thing is here."""
    wanted = [REQUIREMENTS[name] for name in required.split(",") if name]
    return sorted(reason for reason in reasons if any(re.search(pattern, reason) for pattern in wanted))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Count skips by reason; fail where ECHOMIMIC_REQUIRE names a thing for whose absence tests were skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):
        return
    reasons = skip_reasons(reporter.stats.get("skipped", []))
    for reason, count in reasons.most_common():
        reporter.write_line(f"skipped {count}: {reason}")
    missing = missing_requirements(reasons, os.environ.get("ECHOMIMIC_REQUIRE", ""))
    if missing:
        reporter.write_line(f"ECHOMIMIC_REQUIRE: skipped though required: {'; '.join(missing)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def faces_measured_once() -> Iterator[None]:
    """Measure the quality of a face in a picture once: it is a third of finding it, and most tests use one of two."""
    known: dict[bytes, FaceQuality] = {}

    def measure_once(pixels: Picture, landmarks: Floats, find: FindLandmarks) -> FaceQuality:
        key = sha256(b"%d %d" % pixels.shape[:2] + pixels.tobytes() + landmarks.tobytes()).digest()
        if key not in known:
            known[key] = measure_quality(pixels, landmarks, find)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("echomimic.landmarks.face.measure_quality", measure_once)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with sample data; mark the test with `shared`."""
    folder = shared_folder()
    if folder is None:
        pytest.skip("no sample data: set ECHOMIMIC_SHARED to its folder")
    return folder


@pytest.fixture(scope="session")
def portrait_file() -> Path:
    """The portrait of the demo, 512 x 512."""
    return demo_portrait()


@pytest.fixture(scope="session")
def head_file(portrait_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The head of that portrait, 256 x 256: small, and its face large enough."""
    path = tmp_path_factory.mktemp("head") / "head.png"
    Image.open(portrait_file).crop((96, 0, 352, 256)).save(path)
    return path


@pytest.fixture(scope="session")
def voice_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second that has the rhythm of a voice: harmonics of 120 Hz in five swells, 16 kHz mono."""
    time = np.arange(16_000) / 16_000
    tone = sum(np.sin(2 * np.pi * 120 * n * time) / n for n in range(1, 20))
    swells = np.sin(np.pi * 5 * time) ** 2
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    write_wav(path, 0.3 * tone * swells)
    return path


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
    """Write mono samples in -1..1 as 16 bit."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path
