"""Access to the host, ComfyUI: folders, progress with previews, its stop button, memory for the networks."""

import logging
import math
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import Any

from echomimic.apps.comfy.legacy_schema import ORIGINAL_FOLDER, POSES
from echomimic.checkpoints import FILES, fetch, search_paths
from echomimic.engines import Engine
from echomimic.errors import Cancelled, DeviceError, WeightsError
from echomimic.notes import note
from echomimic.options import Options
from echomimic.presets import find_preset, missing_files
from echomimic.types import Picture

_log = logging.getLogger("echomimic")
WEIGHTS = "echomimic"
"""Our key among the host's model folders; extra_model_paths.yaml may add places to it."""
PREVIEW_SECONDS = 0.5
"""Least time between two previews."""
PREVIEW_REST = 10
"""After a preview that took time to make, none is made for at least this many times as long."""
PREVIEW_SIDE = 512


def _paths() -> Any:
    return import_module("folder_paths")


def _management() -> Any:
    return import_module("comfy.model_management")


def add_weight_folders() -> None:
    """Register the folders of weights: models/echomimic, and models/echo_mimic of the original pack."""
    models = Path(_paths().models_dir)
    for name in (WEIGHTS, "echo_mimic"):
        _paths().add_model_folder_path(WEIGHTS, str(models / name))


def weight_folders() -> list[Path]:
    """Existing folders of weights in the order of search; the package's own come last."""
    places = [*map(Path, _paths().get_folder_paths(WEIGHTS)), *search_paths()]
    return [place for place in places if place.is_dir()]


def weights_of(preset: str) -> Path | None:
    """The folder that holds every file of a preset; None for a preset without files. Raises WeightsError."""
    if not find_preset(preset).files:
        return None
    best, files = _fullest_folder(preset)
    if not files:
        return best
    where = ", ".join(map(str, dict.fromkeys([_own_folder(), *weight_folders()])))
    source = " and ".join(f"huggingface.co/{name}" for name in dict.fromkeys(FILES[file].repository for file in files))
    raise WeightsError(
        f"preset {preset} lacks {', '.join(files)}; searched in {where}. Fetch them from {source}: echomimic weights "
        f"fetch {preset} --to {_quoted(best)}, or EchoMimic Load with fetch on. Without weights: EchoMimic Load with "
        "version mesh"
    )


def _own_folder() -> Path:
    return Path(_paths().get_folder_paths(WEIGHTS)[0])


def _fullest_folder(preset: str) -> tuple[Path, list[str]]:
    """The folder that lacks the fewest files of a preset, and these files; the first of equals."""
    lacking = {place: missing_files(preset, place) for place in weight_folders()}
    best = min(lacking, key=lambda place: len(lacking[place]), default=_own_folder())
    return best, lacking.get(best, list(dict.fromkeys(find_preset(preset).files.values())))


def fetch_weights(preset: str, node: Any) -> None:
    """Download what a preset lacks. The host shows files, licences and progress, and may stop it.

    A download that was stopped is continued by the next one. Raises WeightsError, SetupError.
    """
    folder, files = _fullest_folder(preset)
    if not files:
        return
    counted, stopped = (0, 1), Event()

    def report(done: int, total: int) -> None:
        nonlocal counted
        counted = done, total
        if stopped.is_set():
            raise Cancelled("the download was stopped")

    def say(line: str) -> None:
        show_report(node, line)

    task = partial(fetch, [FILES[name] for name in files], folder, say, progress=report)
    future: Future[object] = Future()
    Thread(target=_complete, args=(future, task), daemon=True).start()
    shown = HostProgress()
    try:
        while not future.done():
            shown(*counted)
            wait([future], timeout=0.2)
        shown(*counted)
    finally:
        stopped.set()
    future.result()


def _complete(future: "Future[object]", task: Callable[[], object]) -> None:
    """Run a task, and give its result or its error to the future."""
    try:
        future.set_result(task())
    except Exception as error:
        future.set_exception(error)


def _quoted(path: Path) -> str:
    """A path as every shell takes it."""
    return f'"{path}"' if " " in str(path) else str(path)


def original_is_installed() -> bool:
    """Whether the original pack is among the custom nodes: two packs with one node id replace each other.

    A download of it is called ComfyUI_EchoMimic-main; the host skips folders whose names end in .disabled.
    """
    places = [Path(place) for place in _paths().get_folder_paths("custom_nodes")]
    return any(
        entry.is_dir() and entry.name.lower().startswith(ORIGINAL_FOLDER) and not entry.name.endswith(".disabled")
        for place in places
        if place.is_dir()
        for entry in place.iterdir()
    )


def input_folders(under: str = "") -> list[str]:
    """Names of the folders in the host's input folder, or in one of its folders."""
    place = Path(_paths().get_input_directory()) / under
    return sorted(entry.name for entry in place.iterdir() if entry.is_dir()) if place.is_dir() else []


def input_path(*names: str) -> Path:
    """A path in the host's input folder; its name comes from the list of `input_folders`."""
    return Path(_paths().get_input_directory()).joinpath(*names)


def contents(folder: Path) -> list[tuple[str, int]]:
    """Names and times of the entries of a folder, to detect changes; empty if there is no such folder."""
    if not folder.is_dir():
        return []
    found = []
    for entry in folder.iterdir():
        with suppress(OSError):  # a broken link, or deleted meanwhile
            found.append((entry.name, entry.stat().st_mtime_ns))
    return sorted(found)


def poses() -> list[str]:
    """The folders that `pose_dir` of the published node lists."""
    return input_folders(POSES)


def temporary(suffix: str) -> Path:
    """A new name in the host's temporary folder, which the host empties when it starts."""
    folder = Path(_paths().get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"echomimic_{secrets.token_hex(6)}{suffix}"


@contextmanager
def scratch(suffix: str) -> Iterator[Path]:
    """A new name in the host's temporary folder; the file is removed when the block ends."""
    path = temporary(suffix)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def output_path(prefix: str, suffix: str) -> Path:
    """A new numbered name in the host's output folder."""
    folder, name, counter, _, _ = _paths().get_save_image_path(prefix, _paths().get_output_directory())
    return Path(folder) / f"{name}_{counter:05}_{suffix}"


def stop_if_asked() -> None:
    """Raise the host's exception if the user has stopped the run."""
    _management().throw_exception_if_processing_interrupted()


def show_report(node: Any, report: str) -> None:
    """Show a report on a node of the host's page, and in its log; `node` is the class that the host executes.

    A node that replaces another has that one's number as the first part of its own; the report appears on that one.
    """
    _log.info(report.replace("\n", "; "))
    number = getattr(getattr(node, "hidden", None), "unique_id", None)
    if number:
        import_module("server").PromptServer.instance.send_progress_text(report, str(number).partition(".")[0])


class HostProgress:
    """Progress with previews as the host shows it. Every call first raises the host's exception if the user stops."""

    def __init__(self) -> None:
        self._bar = import_module("comfy.utils").ProgressBar(1)
        self._count = (0, 1)
        self._picture: Picture | None = None
        self._next_preview = self._next_make = 0.0
        self.check_cancelled = stop_if_asked

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` is finished."""
        stop_if_asked()
        self._count = done, total
        self._bar.update_absolute(done, total, self._preview())

    def show(self, frame: Picture) -> None:
        self._picture = frame

    def preview(self, make: Callable[[], Picture]) -> None:
        """Show the picture that `make` returns if a preview is due; without memory for it no more are made."""
        stop_if_asked()
        began = time.monotonic()
        if began < max(self._next_preview, self._next_make):
            return
        try:
            self._picture = make()
        except Exception as error:
            if not isinstance(error, DeviceError) and not is_out_of_memory(error):
                raise
            self._next_make = math.inf
            note("previews_stopped", "no previews while denoising: the device has no memory left for them")
            return
        self._next_make = time.monotonic() + PREVIEW_REST * (time.monotonic() - began)
        self._bar.update_absolute(*self._count, self._preview())

    def _preview(self) -> tuple[str, Any, int] | None:
        """The picture in the host's form if a preview is due; each is sent once."""
        if self._picture is None or time.monotonic() < self._next_preview:
            return None
        from PIL import Image

        picture, self._picture = self._picture, None
        self._next_preview = time.monotonic() + PREVIEW_SECONDS
        return "JPEG", Image.fromarray(picture), PREVIEW_SIDE


def device() -> str:
    """The host's device, in the notation of `Options`."""
    return str(_management().get_torch_device())


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of any backend that the host knows means that the device is out of memory."""
    return bool(_management().is_oom(error))


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Turn the out-of-memory errors that an engine lets through into one line that says what to lower."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            _management().soft_empty_cache()
            raise DeviceError(
                "the device ran out of memory; expected less work at a time: lower context_frames, context_batch or "
                "the size, or load the model with offload",
                code="out_of_memory",
            ) from error
        raise


class ModelManagement:
    """Puts an engine's networks under the host's management of models, so that both make room for each other."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: tuple[object, Any] | None = None

    def load(self, options: Options, megabytes: int) -> None:
        """Have the host load the networks, or with `offload` only make room; nothing for an engine without networks."""
        if not hasattr(self._engine, "networks"):
            return
        from echomimic.diffusion.device import choose_device, choose_dtype

        management, place = _management(), choose_device(options.device)
        if options.offload:
            management.free_memory(megabytes * 2**20, place)
            return
        if self._known is None:  # make room before the weights are loaded
            management.free_memory(megabytes * 2**20, place)
        networks = self._engine.networks(place, choose_dtype(options.dtype, place), options.compile, options.quantized)
        if self._known is None or self._known[0] is not networks:
            self._known = (networks, _patcher(networks, place, management.unet_offload_device()))
        management.load_models_gpu([self._known[1]], memory_required=megabytes * 2**20)


def _patcher(networks: Any, place: Any, offload_place: Any) -> Any:
    from torch import nn

    parts = nn.ModuleList(part for part in vars(networks).values() if isinstance(part, nn.Module))
    return import_module("comfy.model_patcher").ModelPatcher(parts, load_device=place, offload_device=offload_place)


class PeakMemory:
    """The peak memory of a run: of the device from now on, of the process since it started.

    `device` holds the networks; it is None for an engine without networks.
    """

    def __init__(self, device: str | None) -> None:
        self._name = device or ""
        self._counter = _memory_counter(device) if device else None
        if self._counter is not None:
            self._counter.reset_peak_memory_stats(device)

    def __str__(self) -> str:
        """Both in one line; empty if this system reports neither."""
        facts = []
        if self._counter is not None:
            megabytes = self._counter.max_memory_allocated(self._name) / 2**20
            facts.append(f"{megabytes:,.0f} MB of {self._name} in this run")
        process = process_megabytes()
        if process:
            facts.append(f"{process:,.0f} MB of ComfyUI since it started")
        return "peak memory: " + ", ".join(facts) if facts else ""


def process_megabytes() -> float:
    """The peak memory of this process; 0 if the system does not report it."""
    if find_spec("resource"):
        resource: Any = import_module("resource")
        peak = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
    if find_spec("psutil"):  # Windows; ComfyUI needs it too
        return float(getattr(import_module("psutil").Process().memory_info(), "peak_wset", 0)) / 2**20
    return 0.0


def _memory_counter(device: str) -> Any:
    """The module of torch that counts a device's memory; None for a device that is not counted, as the CPU."""
    module = getattr(import_module("torch"), device.partition(":")[0], None)
    return module if hasattr(module, "max_memory_allocated") else None
