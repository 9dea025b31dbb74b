"""Echo_LoadModel and Echo_Sampler, made of the contract; only ComfyUI imports this."""

from importlib import import_module
from typing import Any

from echomimic.apps.comfy import contract, host, layouts, published
from echomimic.apps.comfy.contract import Slot
from echomimic.apps.comfy.values import audio_of, image_of, video_of

io: Any = import_module("comfy_api.latest").io
_LINKS = {"IMAGE": io.Image, "AUDIO": io.Audio, "VIDEO": io.Video, "FLOAT": io.Float}
_NUMBERS = {"INT": io.Int, "FLOAT": io.Float}


def _type(kind: str) -> Any:
    return _LINKS.get(kind) or io.Custom(kind)


def _input(slot: Slot, choices: tuple[str, ...] = ()) -> Any:
    """The host's form of a slot."""
    if slot.default is None:
        return _type(slot.kind).Input(slot.name, optional=slot.optional, tooltip=slot.help or None)
    words = {"default": slot.default, "tooltip": slot.help or None}
    if slot.kind == "COMBO":
        return io.Combo.Input(slot.name, options=list(choices or slot.choices), **words)
    if slot.kind in _NUMBERS:
        more = {} if slot.round is None else {"round": slot.round}
        return _NUMBERS[slot.kind].Input(slot.name, min=slot.low, max=slot.high, step=slot.step, **more, **words)
    return (io.Boolean if slot.kind == "BOOLEAN" else io.String).Input(slot.name, **words)


def _outputs(outputs: tuple[tuple[str, str], ...]) -> list[Any]:
    return [_type(kind).Output(name, display_name=name) for name, kind in outputs]


class EchoLoadModel(io.ComfyNode):  # type: ignore[misc]
    """The loader of the published page."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs of the contract."""
        return io.Schema(
            node_id="Echo_LoadModel",
            display_name="Echo_LoadModel",
            category=contract.CATEGORY,
            description="Load EchoMimic V1 or V2, as in the published workflow. Needs checkpoints in models/echomimic.",
            inputs=[_input(slot) for slot in contract.LOADER],
            outputs=_outputs(contract.LOADER_OUTPUTS),
        )

    @classmethod
    def validate_inputs(cls, infer_mode: Any) -> Any:
        """Take the names of later layouts too; the host's own check would not."""
        (choices,) = (slot.choices for slot in contract.LOADER if slot.name == "infer_mode")
        return layouts.wrong_mode(infer_mode, choices) or True

    @classmethod
    def execute(
        cls,
        vae: str,
        denoising: bool,
        infer_mode: str,
        draw_mouse: bool,
        motion_sync: bool,
        lowvram: bool,
        version: str,
    ) -> Any:
        """The model; the other two outputs are there to be linked."""
        model = published.load(vae, denoising, infer_mode, draw_mouse, motion_sync, lowvram, version)
        return io.NodeOutput(model, model, model)


class EchoSampler(io.ComfyNode):  # type: ignore[misc]
    """The sampler of the published page."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs of the contract."""
        found = (contract.NO_POSE, *host.poses())
        return io.Schema(
            node_id="Echo_Sampler",
            display_name="Echo_Sampler",
            category=contract.CATEGORY,
            description="Make the portrait speak, as in the published workflow; video holds the finished clip.",
            inputs=[_input(slot, found if slot.name == "pose_dir" else ()) for slot in contract.SAMPLER],
            outputs=_outputs(contract.SAMPLER_OUTPUTS),
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, pose_dir: Any) -> Any:
        """Take the names of later layouts too; the host's own check would not."""
        return layouts.wrong_pose(pose_dir, [contract.NO_POSE, *host.poses()]) or True

    @classmethod
    def fingerprint_inputs(cls, pose_dir: Any, **others: Any) -> Any:
        """A folder is read again when something in it has changed."""
        return host.contents(host.input_path(contract.POSES, str(pose_dir)))

    @classmethod
    def execute(
        cls,
        image: Any,
        audio: Any,
        model: Any,
        face_detector: Any,
        pose_dir: str,
        seed: int,
        cfg: float,
        steps: int,
        fps: int,
        sample_rate: int,
        facemask_ratio: float,
        facecrop_ratio: float,
        context_frames: int,
        context_overlap: int,
        length: int,
        width: int,
        height: int,
        save_video: bool,
        visualizer: Any = None,
        video_images: Any = None,
    ) -> Any:
        """Frames, the voice at their length, the frame rate and the clip; the report stands under the node."""
        del face_detector, visualizer  # parts of the model
        wanted = published.Wanted(
            pose_dir,
            seed,
            cfg,
            steps,
            fps,
            sample_rate,
            facemask_ratio,
            facecrop_ratio,
            context_frames,
            context_overlap,
            length,
            width,
            height,
            save_video,
        )
        made = published.sample(model, image, audio, wanted, video_images)
        host.show_report(cls, made.report)
        voice = audio_of(audio, made.clip.seconds)
        video, shown = video_of(made.clip.path), {"text": (made.report,)}
        return io.NodeOutput(image_of(made.frames), voice, made.clip.fps, video, ui=shown)


NODES = [EchoLoadModel, EchoSampler]
