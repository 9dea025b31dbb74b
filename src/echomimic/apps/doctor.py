"""`echomimic doctor`: what is installed, which presets can run here, and the commands that install the rest."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import repeat

from echomimic import __version__
from echomimic.installation import install_command, python
from echomimic.landmarks.networks.files import FILES as NETWORKS
from echomimic.landmarks.networks.files import missing_files as missing_networks
from echomimic.presets import PRESETS, Preset, missing_files

_CORE = {"ai-edge-litert": "ai_edge_litert.interpreter", "av": "av", "opencv-python-headless": "cv2", "numpy": "numpy"}
_CORE |= {"pillow": "PIL", "pydantic": "pydantic", "safetensors": "safetensors"}
_DIFFUSION = {"torch": "torch", "diffusers": "diffusers", "huggingface-hub": "huggingface_hub"}
_EXTRA = {"mesh": "", "diffusion": "diffusion"}
_CV2 = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")
"""Packages that bring the same module cv2; the first is the one that this package asks for."""
_NO_GPU = "(the mesh preset needs none)"
PROBE_SECONDS = 90.0
"""Time limit of one import: torch from a cold network disk takes a minute."""
DRIVER_SECONDS = 20.0
"""Time limit of nvidia-smi."""
PROBES = 4
"""Imports that run at the same time."""


@dataclass(frozen=True)
class Package:
    """A package: its version if it is installed, else what is wrong and the command that fixes it."""

    name: str
    version: str | None
    wrong: str = ""
    fix: str = ""


@dataclass(frozen=True)
class PresetStatus:
    """Whether a preset can run here, and the commands that make it ready."""

    preset: str
    ready: bool
    fix: tuple[str, ...] = ()


@dataclass(frozen=True)
class Health:
    """Everything that the doctor found."""

    version: str
    python: str
    system: str
    cores: int
    memory_gb: float | None
    device: str
    packages: tuple[Package, ...]
    presets: tuple[PresetStatus, ...]
    warnings: tuple[str, ...] = field(default=())

    def ready(self, preset: str) -> bool:
        """Whether `preset` can run here."""
        return any(status.ready for status in self.presets if status.preset == preset)


def examine() -> Health:
    """Examine this machine. Each package is imported, in a process of its own: it may crash or hang.

    Only an import shows that a system library is missing.
    """
    from echomimic.parallel import available_cores  # which loads numpy: an idle server does without

    with ThreadPoolExecutor(PROBES) as pool:
        device = pool.submit(_device)
        core = list(pool.map(_check_package, _CORE, _CORE.values(), repeat("mesh")))
        extra = list(pool.map(_check_package, _DIFFUSION, _DIFFUSION.values(), repeat("diffusion")))
    return Health(
        version=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cores=available_cores(),
        memory_gb=_memory_gb(),
        device=device.result(),
        packages=(*core, _check_networks(), *extra),
        presets=tuple(_preset_status(preset, core, extra) for preset in PRESETS.values()),
        warnings=tuple(_warnings()),
    )


def quick_check() -> tuple[PresetStatus, ...]:
    """Which presets can run here, without importing any package; a package that fails to load goes unnoticed."""
    extra = [_check_package(name, module, "diffusion", load=False) for name, module in _DIFFUSION.items()]
    return tuple(_preset_status(preset, [], extra) for preset in PRESETS.values())


def report_lines(health: Health) -> Iterator[str]:
    """Yield the lines of the report for people."""
    memory = f"{health.memory_gb:.1f} GB memory" if health.memory_gb else "memory unknown"
    yield f"echomimic {health.version}, Python {health.python}, {health.system}"
    yield f"{health.cores} cores, {memory}, {health.device}"
    yield ""
    for package in health.packages:
        yield f"  {package.name:<24} {package.version or '-':<14} {package.wrong}".rstrip()
    yield ""
    for status in health.presets:
        yield f"  {status.preset:<24} {'ready' if status.ready else 'not ready'}"
        yield from (f"      {command}" for command in status.fix)
    yield from (f"warning: {text}" for text in health.warnings)


def _check_package(name: str, module: str, engine: str, load: bool = True) -> Package:
    """Whether a package is installed and, with `load`, can be imported."""
    name = (_installed_cv2() or [name])[0] if module == "cv2" else name
    try:
        found = version(name)
    except PackageNotFoundError:
        return Package(name, None, "not installed", install_command(_EXTRA[engine]))
    fault = import_fault(module) if load else ""
    return Package(name, found, fault and f"does not load: {fault}", fault and _fix_import(fault, name))


def import_fault(module: str) -> str:
    """Why `module` cannot be imported by this Python, in one line; empty if it can."""
    return _run_tool([sys.executable, "-c", f"import {module}"], PROBE_SECONDS)[1]


def _run_tool(command: list[str], seconds: float) -> tuple[str, str]:
    """Run a command; the last line of its stdout, and why it failed in one line, or an empty string.

    After the time limit the process is killed but not waited for: one that hangs in a driver cannot be killed.
    """
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    try:
        process = subprocess.Popen(command, stdin=null, stdout=pipe, stderr=pipe, text=True, errors="replace")
    except OSError as error:
        return "", error.strerror or type(error).__name__
    try:
        output, errors = (text.strip().splitlines() for text in process.communicate(timeout=seconds))
    except subprocess.TimeoutExpired:
        process.kill()
        return "", f"no answer within {seconds:g} s"
    if process.returncode == 0:
        return output[-1].strip() if output else "", ""
    return "", errors[-1].strip() if errors else f"the process ended with code {process.returncode}"


def _fix_import(fault: str, name: str) -> str:
    """The command that fixes an import which failed with `fault`."""
    if "libGL" in fault or "libgthread" in fault:
        return f"{python()} -m pip uninstall {' '.join(_installed_cv2())} && {python()} -m pip install {_CV2[0]}"
    return f"{python()} -m pip install --force-reinstall {name}"


def _preset_status(preset: Preset, core: list[Package], extra: list[Package]) -> PresetStatus:
    needed = core if preset.engine == "mesh" else [*core, *extra]
    fix = list(dict.fromkeys(package.fix for package in needed if package.wrong))
    if missing_files(preset.name):
        fix.append(f"echomimic weights fetch {preset.name}")
    return PresetStatus(preset.name, not fix, tuple(fix))


def _warnings() -> Iterator[str]:
    """Warnings about problems that do not prevent a run now but may later."""
    found = _installed_cv2()
    if len(found) > 1:
        yield (
            f"{' and '.join(found)} write to the same files; run: {python()} -m pip uninstall {' '.join(found)} && "
            f"{python()} -m pip install {_CV2[0]}"
        )


def _installed_cv2() -> list[str]:
    found = []
    for name in _CV2:
        with suppress(PackageNotFoundError):
            version(name)
            found.append(name)
    return found


def _check_networks() -> Package:
    """Whether the networks that find faces are here; they are fetched at first use."""
    lacking = missing_networks()
    if lacking:
        wrong = f"{len(lacking)} of {len(NETWORKS)} files are missing"
        return Package("landmark networks", None, wrong, "echomimic models fetch")
    return Package("landmark networks", f"{len(NETWORKS)} files")


def _memory_gb() -> float | None:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return None


def _device() -> str:
    """The accelerator that the diffusion engine would use."""
    if find_spec("torch") is None:
        return f"{_nvidia_gpu() or 'no GPU found'} {_NO_GPU}"
    code = "from echomimic.apps.doctor import torch_device; import sys; sys.stdout.write(torch_device())"
    name, fault = _run_tool([sys.executable, "-c", code], PROBE_SECONDS)
    if fault:
        return f"GPU unknown: torch fails ({fault}) {_NO_GPU}"
    return name or f"{_nvidia_gpu() or 'no GPU'} that torch can use {_NO_GPU}"


def torch_device() -> str:
    """The name of the accelerator that torch can use, or an empty string."""
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return f"{properties.name} with {properties.total_memory / 2**30:.0f} GB"
    if torch.backends.mps.is_available():
        return "Apple GPU (mps)"
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        return f"Intel GPU (xpu): {torch.xpu.get_device_name(0)}"
    return ""


def _nvidia_gpu() -> str:
    """The name of an NVIDIA GPU that the driver knows or, if the driver fails, why; else an empty string."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    name, fault = _run_tool([tool, "--query-gpu=name", "--format=csv,noheader"], DRIVER_SECONDS)
    return f"no GPU (nvidia-smi fails: {fault})" if fault else name
