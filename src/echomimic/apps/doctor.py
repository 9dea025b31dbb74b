"""What is installed, which presets can run here, what is missing, and the command that mends it."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from echomimic import __version__
from echomimic.choice import missing_files
from echomimic.presets import PRESETS, Preset

_CORE = {"av": "av", "mediapipe": "mediapipe", "opencv-contrib-python": "cv2", "numpy": "numpy", "pillow": "PIL"}
_CORE |= {"pydantic": "pydantic", "safetensors": "safetensors", "scikit-image": "skimage"}
_DIFFUSION = {"torch": "torch", "diffusers": "diffusers", "huggingface-hub": "huggingface_hub"}
_EXTRA = {"mesh": "", "diffusion": "[diffusion]"}
_OTHER_CV2 = ("opencv-python", "opencv-python-headless", "opencv-contrib-python-headless")


@dataclass(frozen=True)
class Package:
    """A package: its version where it is installed and works, else what is wrong and the command that mends it."""

    name: str
    version: str | None
    wrong: str = ""
    mend: str = ""


@dataclass(frozen=True)
class Readiness:
    """Whether a preset can run here, and the lines that say what to do where it cannot."""

    preset: str
    ready: bool
    mend: tuple[str, ...] = ()


@dataclass(frozen=True)
class Health:
    """All that the doctor found."""

    version: str
    python: str
    system: str
    cores: int
    memory_gb: float | None
    device: str
    packages: tuple[Package, ...]
    presets: tuple[Readiness, ...]
    warnings: tuple[str, ...] = field(default=())

    def ready(self, preset: str) -> bool:
        """Whether `preset` can run here."""
        return any(found.ready for found in self.presets if found.preset == preset)

    def as_dict(self) -> dict[str, object]:
        """All of it as plain values."""
        return asdict(self)


def examine() -> Health:
    """Look at this machine. Packages are really imported: a missing system library shows only then."""
    core = [_examine_package(name, module, "mesh") for name, module in _CORE.items()]
    extra = [_examine_package(name, module, "diffusion") for name, module in _DIFFUSION.items()]
    return Health(
        version=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cores=_cores(),
        memory_gb=_memory_gb(),
        device=_device(),
        packages=(*core, *extra),
        presets=tuple(_readiness(preset, core, extra) for preset in PRESETS.values()),
        warnings=tuple(_warnings()),
    )


def glance() -> tuple[Readiness, ...]:
    """Which presets can run here, without importing a package: quick, and blind to one that does not load."""
    extra = [_examine_package(name, module, "diffusion", load=False) for name, module in _DIFFUSION.items()]
    return tuple(_readiness(preset, [], extra) for preset in PRESETS.values())


def lines(health: Health) -> Iterator[str]:
    """The findings in words, one a line."""
    memory = f"{health.memory_gb:.1f} GB memory" if health.memory_gb else "memory unknown"
    yield f"echomimic {health.version}, Python {health.python}, {health.system}"
    yield f"{health.cores} cores, {memory}, {health.device}"
    yield ""
    for package in health.packages:
        yield f"  {package.name:<24} {package.version or '-':<14} {package.wrong}".rstrip()
    yield ""
    for found in health.presets:
        yield f"  {found.preset:<24} {'ready' if found.ready else 'not ready'}"
        yield from (f"      {line}" for line in found.mend)
    yield from (f"warning: {text}" for text in health.warnings)


def _examine_package(name: str, module: str, engine: str, load: bool = True) -> Package:
    """Whether a package is installed and, with `load`, can be imported."""
    install = f"{_python()} -m pip install 'echomimic{_EXTRA[engine]}'"
    try:
        found = version(name)
    except PackageNotFoundError:
        return Package(name, None, "not installed", install)
    try:
        if load:
            import_module(module)
    except ImportError as error:
        return Package(name, found, f"does not load: {error}", _mend_import(str(error), name))
    return Package(name, found)


def _mend_import(message: str, name: str) -> str:
    """The command that mends an import that failed with `message`."""
    if "libGL" in message or "libgthread" in message:
        return "apt-get install libgl1 libglib2.0-0"
    return f"{_python()} -m pip install --force-reinstall {name}"


def _readiness(preset: Preset, core: list[Package], extra: list[Package]) -> Readiness:
    """Whether a preset has its packages and its checkpoints."""
    needed = core if preset.engine == "mesh" else [*core, *extra]
    mend = list(dict.fromkeys(package.mend for package in needed if package.wrong))
    if missing_files(preset.name):
        mend.append(f"echomimic weights fetch {preset.name}")
    return Readiness(preset.name, not mend, tuple(mend))


def _warnings() -> Iterator[str]:
    """What works now and will not for long."""
    for name in _OTHER_CV2:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        yield (
            f"{name} is installed beside opencv-contrib-python and overwrites its files; run: {_python()} -m pip "
            f"uninstall {name} && {_python()} -m pip install --force-reinstall opencv-contrib-python==4.11.0.86"
        )


def _python() -> str:
    """How to call this Python."""
    return f'"{sys.executable}"' if " " in sys.executable else sys.executable


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_gb() -> float | None:
    """All memory of the machine, where the system says."""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return None


def _device() -> str:
    """The accelerator that diffusion would use, in words."""
    try:
        torch = import_module("torch")
    except ImportError:
        return f"{_nvidia() or 'no GPU found'} (the mesh preset needs none)"
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return f"{properties.name} with {properties.total_memory / 2**30:.0f} GB"
    if torch.backends.mps.is_available():
        return "Apple GPU (mps)"
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        return f"Intel GPU (xpu): {torch.xpu.get_device_name(0)}"
    return f"{_nvidia() or 'no GPU'} that torch can use (the mesh preset needs none)"


def _nvidia() -> str:
    """The name of an NVIDIA GPU that the driver knows, or nothing."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    query = [tool, "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    return answer.stdout.splitlines()[0].strip() if answer.returncode == 0 and answer.stdout.strip() else ""
