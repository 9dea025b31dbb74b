"""The host, ComfyUI, asked for what a run needs: folders, progress, its stop button, memory for the networks."""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from echomimic.apps.comfy.contract import ORIGINAL_FOLDER, POSES
from echomimic.checkpoints import FILES, search_paths
from echomimic.engines import Engine
from echomimic.errors import DeviceError, WeightsError
from echomimic.options import Options
from echomimic.presets import find_preset, missing_files

_log = logging.getLogger("echomimic")
WEIGHTS = "echomimic"
"""Our key among the host's model folders; extra_model_paths.yaml may add places to it."""


def _paths() -> Any:
    return import_module("folder_paths")


def _management() -> Any:
    return import_module("comfy.model_management")


def add_weight_folders() -> None:
    """Tell the host where weights may lie: models/echomimic, and models/echo_mimic of the original pack."""
    models = Path(_paths().models_dir)
    for name in (WEIGHTS, "echo_mimic"):
        _paths().add_model_folder_path(WEIGHTS, str(models / name))


def weight_folders() -> list[Path]:
    """Folders that are there, in the order in which they are searched; the package's own come last."""
    places = [*map(Path, _paths().get_folder_paths(WEIGHTS)), *search_paths()]
    return [place for place in places if place.is_dir()]


def weights_of(preset: str) -> Path | None:
    """The folder that holds every file of a preset, None for a preset without files; else WeightsError."""
    if not find_preset(preset).files:
        return None
    places = weight_folders()
    lacking = {place: missing_files(preset, place) for place in places}
    whole = next((place for place, files in lacking.items() if not files), None)
    if whole is not None:
        return whole
    asked = Path(_paths().get_folder_paths(WEIGHTS)[0])
    best = min(lacking, key=lambda place: len(lacking[place]), default=asked)
    files = lacking.get(best) or list(dict.fromkeys(find_preset(preset).files.values()))
    where = ", ".join(map(str, dict.fromkeys([asked, *places])))
    source = " and ".join(f"huggingface.co/{name}" for name in dict.fromkeys(FILES[file].repository for file in files))
    raise WeightsError(
        f"preset {preset} lacks {', '.join(files)}; looked in {where}. Fetch them from {source}: echomimic weights "
        f"fetch {preset} --to {_quoted(best)}. Without weights: EchoMimic Load with version mesh"
    )


def _quoted(path: Path) -> str:
    """A path as every shell takes it."""
    return f'"{path}"' if " " in str(path) else str(path)


def original_is_installed() -> bool:
    """Whether the original pack lies among the custom nodes: two packs with one node id replace each other.

    A download of it is called ComfyUI_EchoMimic-main; a folder whose name ends in .disabled the host leaves alone.
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
    """A place in the host's input folder; its name comes from the list of `input_folders`."""
    return Path(_paths().get_input_directory()).joinpath(*names)


def contents(folder: Path) -> list[tuple[str, int]]:
    """Names and times of what is in a folder, to tell whether it has changed; empty where there is none."""
    if not folder.is_dir():
        return []
    found = []
    for entry in folder.iterdir():
        with suppress(OSError):  # a link to nowhere, or gone meanwhile
            found.append((entry.name, entry.stat().st_mtime_ns))
    return sorted(found)


def poses() -> list[str]:
    """What `pose_dir` of the published node lists."""
    return input_folders(POSES)


def temporary(suffix: str) -> Path:
    """A new name in the host's temporary folder, which it empties when it starts."""
    folder = Path(_paths().get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"echomimic_{secrets.token_hex(6)}{suffix}"


@contextmanager
def scratch(suffix: str) -> Iterator[Path]:
    """A new name in the host's temporary folder; what is there when the block ends is removed, however it ends."""
    path = temporary(suffix)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def output_path(prefix: str, suffix: str) -> Path:
    """A new numbered name in the host's output folder."""
    folder, name, counter, _, _ = _paths().get_save_image_path(prefix, _paths().get_output_directory())
    return Path(folder) / f"{name}_{counter:05}_{suffix}"


def device() -> str:
    """The host's device, as `Options` name it."""
    return str(_management().get_torch_device())


def stop_if_asked() -> None:
    """Raise what the host raises where the user has stopped the run."""
    _management().throw_exception_if_processing_interrupted()


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device ran out of memory, in the words of any backend that the host knows."""
    return bool(_management().is_oom(error))


def show_report(node: Any, report: str) -> None:
    """Show a report on a node of the host's page, and in its log; `node` is the class that the host executes.

    A node that took the place of another has a longer number, which begins with that one's: that is where people look.
    """
    _log.info(report.replace("\n", "; "))
    number = getattr(getattr(node, "hidden", None), "unique_id", None)
    if number:
        import_module("server").PromptServer.instance.send_progress_text(report, str(number).partition(".")[0])


@contextmanager
def out_of_memory_told() -> Iterator[None]:
    """A device that ran out of memory where the engine did not notice, in one line that says what to lower."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            _management().soft_empty_cache()
            raise DeviceError(
                "the device ran out of memory; expected less to do at a time: lower context_frames, context_batch or "
                "the size, or load the model with offload",
                code="out_of_memory",
            ) from error
        raise


class Residence:
    """Puts an engine's networks under the host's management of models, so that both make room for each other."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: tuple[object, Any] | None = None

    def take(self, options: Options, megabytes: int) -> None:
        """Have the host load the networks, or with `offload` only make room; nothing for an engine without any."""
        if not hasattr(self._engine, "networks"):
            return
        from echomimic.diffusion.device import choose_device, choose_dtype

        management, place = _management(), choose_device(options.device)
        if options.offload:
            management.free_memory(megabytes * 2**20, place)
            return
        if self._known is None:  # before the weights come, not after
            management.free_memory(megabytes * 2**20, place)
        networks = self._engine.networks(place, choose_dtype(options.dtype, place), options.compile)
        if self._known is None or self._known[0] is not networks:
            self._known = (networks, _patcher(networks, place, management.unet_offload_device()))
        management.load_models_gpu([self._known[1]], memory_required=megabytes * 2**20)


def _patcher(networks: Any, place: Any, rest: Any) -> Any:
    """The host's handle on all networks at once."""
    from torch import nn

    parts = nn.ModuleList(part for part in vars(networks).values() if isinstance(part, nn.Module))
    return import_module("comfy.model_patcher").ModelPatcher(parts, load_device=place, offload_device=rest)
