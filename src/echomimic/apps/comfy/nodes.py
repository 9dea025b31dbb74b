"""Our own nodes, built from `Options`. Only ComfyUI imports this module."""

from importlib import import_module
from typing import Any

from echomimic.apps.comfy import host, widgets
from echomimic.apps.comfy.convert import (
    audio_of,
    box_of,
    box_of_mask,
    image_of,
    made_box,
    mask_of,
    motion_of,
    portrait_of,
    speech_of,
    video_of,
)
from echomimic.apps.comfy.legacy_schema import CATEGORY
from echomimic.apps.comfy.render import (
    Driver,
    crop_portrait,
    describe_motion,
    limit_frames,
    load_model,
    paste_back,
    render,
)
from echomimic.errors import OptionError
from echomimic.notes import collect_notes
from echomimic.presets import PRESETS, resolve_preset
from echomimic.types import Portrait

io: Any = import_module("comfy_api.latest").io
MODEL, MOTION, PLACE = (io.Custom(f"ECHOMIMIC_{kind}") for kind in ("MODEL", "MOTION", "PLACE"))
PORTRAIT_OPTIONS = ("face", "face_box", "crop_margin", "size")
SIDE = "side of the square in pixels; 0: 512"
TALK_OPTIONS = ("size", "fps", "frames", "framing", "seed", "motion_strength", "mouth_strength", "blink_rate")
FETCH = (
    "download missing checkpoints from huggingface.co into the folder of models; their licences are shown first; "
    "off: nothing is downloaded"
)
NO_FOLDER = "none"
AUTO = "auto"
ALIASES = ["EchoMimic", "talking head", "lip sync", "portrait animation", "avatar"]


def make_schema(
    name: str, title: str, description: str, inputs: list[Any], outputs: list[Any], expands: bool = False
) -> Any:
    """The schema of one of our nodes."""
    return io.Schema(
        node_id=f"EchoMimic{name}",
        display_name=title,
        category=CATEGORY,
        description=description,
        search_aliases=ALIASES,
        inputs=inputs,
        outputs=outputs,
        hidden=[io.Hidden.unique_id],
        enable_expand=expands,
    )


def _box_input() -> Any:
    tooltip = "faces that a core node found; face picks one by number, else the largest is used"
    return io.BoundingBox.Input("bounding_box", optional=True, force_input=True, tooltip=tooltip)


def _mask_input() -> Any:
    return io.Mask.Input("face_mask", optional=True, tooltip="where the face is, instead of a box: white on it")


def make_options_of(
    options: dict[str, Any], bounding_box: Any = None, mask: Any = None, portrait: Portrait | None = None
) -> dict[str, object]:
    """The options that the widgets set; a linked box or mask is the place of the face in the portrait.

    Raises OptionError for two places.
    """
    given = widgets.chosen_options(options)
    places = {"face_box": given.get("face_box"), "a bounding box": bounding_box, "a mask": mask}
    found = [name for name, value in places.items() if value is not None]
    if len(found) > 1:
        raise OptionError(f"{' and '.join(found)} are given; expected one of them: clear or unlink the others")
    if mask is not None and portrait is not None:
        return {**given, "face": None, "face_box": box_of_mask(mask, portrait)}
    if bounding_box is None:
        return given
    return {**given, "face": None, "face_box": box_of(bounding_box, int(options.get("face", 0)))}


def make_outputs(**kinds: Any) -> list[Any]:
    """Outputs of these names and types, which the page shows under their names."""
    return [kind.Output(name, display_name=name) for name, kind in kinds.items()]


class Load(io.ComfyNode):  # type: ignore[misc]
    """Loads a preset, chosen by version; only valid combinations can be chosen."""

    @classmethod
    def define_schema(cls) -> Any:
        speed = io.Combo.Input(
            "speed", options=["full", "fast"], default="full", tooltip="fast: weights made for 6 steps without guidance"
        )
        drive = io.Combo.Input(
            "driven_by",
            options=["voice", "landmarks"],
            default="voice",
            tooltip="voice: the voice alone; landmarks: also a face's motion, given or generated from the voice",
        )
        machine = widgets.make_inputs(io, (name for name in widgets.MACHINE if name not in ("workers", *widgets.LATER)))
        machine.append(io.Boolean.Input("fetch", default=False, optional=True, tooltip=FETCH))
        machine += widgets.make_inputs(io, widgets.LATER)
        versions = {
            "mesh": widgets.make_inputs(io, ("workers",)),
            "V1": [drive, speed, *machine],
            "V2": [speed, *machine],
            "tiny": [],
            AUTO: [],
        }
        options = [io.DynamicCombo.Option(key, inputs) for key, inputs in versions.items()]
        description = (
            "mesh needs no weights and no GPU; V1 moves a head, V2 a half body with hands; tiny makes noise, to test; "
            "auto uses V1 if its weights and a GPU are here, else mesh"
        )
        version = io.DynamicCombo.Input("version", options=options, tooltip=description)
        return make_schema("Load", "EchoMimic Load", description, [version], make_outputs(model=MODEL))

    @classmethod
    def fingerprint_inputs(cls, version: Any) -> Any:
        """The preset that auto means now; it changes when weights are added."""
        return _auto_preset()[0] if AUTO in (version, version["version"] if isinstance(version, dict) else "") else ""

    @classmethod
    def execute(cls, version: dict[str, Any]) -> Any:
        chosen = dict(version)
        name, why = str(chosen.pop("version")).lower(), ""
        if name == AUTO:
            name, why = _auto_preset()
        if chosen.pop("driven_by", "voice") == "landmarks":
            name += "-landmarks"
        if chosen.pop("speed", "full") == "fast":
            name += "-acc"
        if chosen.pop("fetch", False):
            host.fetch_weights(name, cls)
        return io.NodeOutput(load_model(name, widgets.chosen_options(chosen), why))


def _version(preset: str) -> dict[str, object]:
    """The widget values of Load that mean a preset; all others have their initial values."""
    name, *parts = preset.split("-")
    if name not in ("v1", "v2"):
        return {
            "version": name,
            **({"version.workers": widgets.defaults(["workers"])["workers"]} if name == "mesh" else {}),
        }
    inside = {"speed": "fast" if "acc" in parts else "full", **widgets.defaults(widgets.MACHINE)}
    del inside["workers"]
    if name == "v1":
        inside["driven_by"] = "landmarks" if "landmarks" in parts else "voice"
    return {"version": name.upper(), **{f"version.{key}": value for key, value in inside.items()}}


class CropPortrait(io.ComfyNode):  # type: ignore[misc]
    """Crops a square around the head, and remembers its place."""

    @classmethod
    def define_schema(cls) -> Any:
        options = widgets.make_inputs(io, PORTRAIT_OPTIONS, {"size": SIDE})
        inputs = [io.Image.Input("image"), *options, _box_input(), _mask_input()]
        outputs = make_outputs(
            portrait=io.Image, place=PLACE, report=io.String, face_mask=io.Mask, bounding_box=io.BoundingBox
        )
        description = (
            "Crop a square around the head; EchoMimic Paste Back uses place to put the video into the picture. "
            "face_mask is the face in the crop, bounding_box the face in the whole picture."
        )
        return make_schema("Portrait", "EchoMimic Portrait", description, inputs, outputs)

    @classmethod
    def execute(cls, image: Any, bounding_box: Any = None, face_mask: Any = None, **options: Any) -> Any:
        portrait = portrait_of(image)
        made = crop_portrait(portrait, make_options_of(options, bounding_box, face_mask, portrait))
        host.show_report(cls, made.report)
        shown = image_of([made.pixels]), made.place, made.report
        return io.NodeOutput(*shown, mask_of(made.face.landmarks, made.place.crop), made_box(made.face.box))


class PasteBackNode(io.ComfyNode):  # type: ignore[misc]
    """Puts the video of a crop into the whole picture."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [
            io.Video.Input("video", tooltip="a video of the crop, of any size"),
            io.Image.Input("image", tooltip="the picture that was cropped"),
            PLACE.Input("place", tooltip="the output of EchoMimic Portrait"),
        ]
        description = "Put the video of a crop back into the picture that it was cropped from, with a soft border."
        return make_schema("PasteBack", "EchoMimic Paste Back", description, inputs, make_outputs(video=io.Video))

    @classmethod
    def execute(cls, video: Any, image: Any, place: Any) -> Any:
        return io.NodeOutput(video_of(paste_back(video, portrait_of(image), place)))


class MotionSource(io.ComfyNode):  # type: ignore[misc]
    """Reads a motion from one of several sources."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [
            io.Combo.Input(
                "folder",
                options=[NO_FOLDER, *host.input_folders(), *(f"tensorrt_lite/{name}" for name in host.poses())],
                default=NO_FOLDER,
                tooltip="a folder of the input folder: 0.pkl … of V1, 0.npy … of V2, or OpenPose JSON; read safely",
            ),
            io.Combo.Input("part", options=["face", "body"], default="face", tooltip="what to track in a video"),
            io.Float.Input(
                "fps",
                default=25.0,
                min=1.0,
                max=120.0,
                step=1.0,
                tooltip="frame rate of key points and folders, which do not state one",
            ),
            io.Boolean.Input(
                "align",
                default=True,
                tooltip="fit the movements to the portrait's own face or body; off: use them unchanged, "
                "except a face that is elsewhere than the portrait's",
            ),
            io.Video.Input("video", optional=True, tooltip="a video of a person; its own frame rate is used"),
            io.Custom("POSE_KEYPOINT").Input("pose_keypoints", optional=True),
            io.Custom("FACE_LANDMARKS").Input("face_landmarks", optional=True),
        ]
        description = (
            "A motion to follow: from a video, key points that core nodes found, or a folder in the old formats."
        )
        return make_schema(
            "Motion", "EchoMimic Motion", description, inputs, make_outputs(motion=MOTION, report=io.String)
        )

    @classmethod
    def fingerprint_inputs(cls, folder: str, **links: Any) -> Any:
        """The content of the folder, which is read again if it has changed."""
        return [] if folder == NO_FOLDER else host.contents(host.input_path(folder))

    @classmethod
    def execute(
        cls,
        folder: str,
        part: str,
        fps: float,
        align: bool,
        video: Any = None,
        pose_keypoints: Any = None,
        face_landmarks: Any = None,
    ) -> Any:
        sources = {"video": video, "pose_keypoints": pose_keypoints, "face_landmarks": face_landmarks}
        with collect_notes() as notes:
            motion = motion_of("" if folder == NO_FOLDER else folder, part == "body", fps, sources)
        driver = None if motion is None else Driver(motion, align)
        report = "\n".join([describe_motion(motion), *widgets.note_lines(notes)])
        host.show_report(cls, report)
        return io.NodeOutput(driver, report)


class SampleNode(io.ComfyNode):  # type: ignore[misc]
    """Renders a video, with every option."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [
            MODEL.Input("model"),
            io.Image.Input("image"),
            io.Audio.Input("audio"),
            *widgets.make_inputs(io, widgets.RENDER),
            MOTION.Input("motion", optional=True),
            _box_input(),
            _mask_input(),
        ]
        outputs = make_outputs(video=io.Video, report=io.String, audio=io.Audio)
        description = (
            "Make the portrait speak. Frames are written to a temporary .mp4; "
            "Get Video Components returns them as images."
        )
        return make_schema("Sampler", "EchoMimic Sampler", description, inputs, outputs)

    @classmethod
    def execute(
        cls,
        model: Any,
        image: Any,
        audio: Any,
        motion: Any = None,
        bounding_box: Any = None,
        face_mask: Any = None,
        **options: Any,
    ) -> Any:
        with collect_notes() as notes:
            portrait, speech = portrait_of(image), speech_of(audio)
            given = limit_frames(make_options_of(options, bounding_box, face_mask, portrait), model, speech)
        result = render(model, portrait, speech, motion, given)
        report = "\n".join([result.report, *widgets.note_lines(notes)])
        host.show_report(cls, report)
        voice = audio_of(audio, result.clip.seconds)
        return io.NodeOutput(video_of(result.clip.path), report, voice, ui={"text": (report,)})


class Talk(io.ComfyNode):  # type: ignore[misc]
    """Load and Sampler in one node."""

    @classmethod
    def define_schema(cls) -> Any:
        preset = io.Combo.Input(
            "preset",
            options=[AUTO, *PRESETS],
            default=AUTO,
            tooltip="auto: the best preset that can run here, else mesh",
        )
        options = widgets.make_inputs(io, TALK_OPTIONS)
        inputs = [io.Image.Input("image"), io.Audio.Input("audio"), preset, *options]
        description = "A picture and a voice become a video of that person speaking. Works without weights."
        return make_schema(
            "Talk", "EchoMimic Talk", description, inputs, make_outputs(video=io.Video, report=io.String), expands=True
        )

    @classmethod
    def execute(cls, image: Any, audio: Any, preset: str, **options: Any) -> Any:
        graph = import_module("comfy_execution.graph_utils").GraphBuilder()
        model = graph.node("EchoMimicLoad", **_version(preset)).out(0)
        values = {**widgets.defaults(widgets.RENDER), **options}
        sampler = graph.node("EchoMimicSampler", model=model, image=image, audio=audio, **values)
        return io.NodeOutput(sampler.out(0), sampler.out(1), expand=graph.finalize())


def _auto_preset() -> tuple[str, str]:
    """The preset that auto means, and why: the first folder that has every file of one better than mesh."""
    for folder in host.weight_folders():
        chosen, why = resolve_preset(AUTO, None, folder)
        if chosen.files:
            return chosen.name, why
    return "mesh", "no checkpoints or no GPU for another preset"


NODES = [Load, CropPortrait, PasteBackNode, MotionSource, SampleNode, Talk]
