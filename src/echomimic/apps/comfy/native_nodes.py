"""Our own nodes, made of `Options`; only ComfyUI imports this."""

from importlib import import_module
from typing import Any

from echomimic.apps.comfy import fields, host, motions, run
from echomimic.apps.comfy.contract import CATEGORY
from echomimic.apps.comfy.values import audio_of, box_of, image_of, portrait_of, speech_of, video_of
from echomimic.errors import OptionError
from echomimic.notes import collect_notes
from echomimic.presets import PRESETS, resolve_preset

io: Any = import_module("comfy_api.latest").io
MODEL, MOTION, PLACE = (io.Custom(f"ECHOMIMIC_{kind}") for kind in ("MODEL", "MOTION", "PLACE"))
PORTRAIT_OPTIONS = ("face", "face_box", "crop_margin", "size")
SIDE = "side of the square in pixels; 0: 512"
TALK_OPTIONS = ("size", "fps", "frames", "framing", "seed", "motion_strength", "mouth_strength", "blink_rate")
NO_FOLDER = "none"
AUTO = "auto"
LANGUAGE = ["EchoMimic", "talking head", "lip sync", "portrait animation", "avatar"]


def _schema(name: str, title: str, says: str, inputs: list[Any], outputs: list[Any], expands: bool = False) -> Any:
    return io.Schema(
        node_id=f"EchoMimic{name}",
        display_name=title,
        category=CATEGORY,
        description=says,
        search_aliases=LANGUAGE,
        inputs=inputs,
        outputs=outputs,
        hidden=[io.Hidden.unique_id],
        enable_expand=expands,
    )


def _box() -> Any:
    says = "where faces are, as core nodes find them; face counts them, else the largest is taken"
    return io.BoundingBox.Input("bounding_box", optional=True, force_input=True, tooltip=says)


def _given(options: dict[str, Any], bounding_box: Any) -> dict[str, object]:
    """The options that were asked for, with the box that was linked as the place of the face."""
    given = fields.given(options)
    if bounding_box is None:
        return given
    if "face_box" in given:
        raise OptionError(
            "face_box and a bounding box came in; expected one of them: clear face_box, or unlink the box"
        )
    return {**given, "face": None, "face_box": box_of(bounding_box, int(options.get("face", 0)))}


def _made() -> list[Any]:
    return [io.Video.Output("video", display_name="video"), io.String.Output("report", display_name="report")]


class Load(io.ComfyNode):  # type: ignore[misc]
    """A preset, by version: only what goes together can be picked."""

    @classmethod
    def define_schema(cls) -> Any:
        """A version and what it can be driven by."""
        speed = io.Combo.Input(
            "speed", options=["full", "fast"], default="full", tooltip="fast: weights made for 6 steps without guidance"
        )
        drive = io.Combo.Input(
            "driven_by",
            options=["voice", "landmarks"],
            default="voice",
            tooltip="voice: the voice alone; landmarks: a face's motion too, given or made from the voice",
        )
        machine = fields.make_inputs(io, (name for name in fields.MACHINE if name != "workers"))
        versions = {
            "mesh": fields.make_inputs(io, ("workers",)),
            "V1": [drive, speed, *machine],
            "V2": [speed, *machine],
            "tiny": [],
            AUTO: [],
        }
        options = [io.DynamicCombo.Option(key, inputs) for key, inputs in versions.items()]
        says = (
            "mesh needs no weights and no GPU; V1 moves a head, V2 a half body with hands; tiny makes noise, to test; "
            "auto takes V1 where its weights and a GPU are here, else mesh"
        )
        version = io.DynamicCombo.Input("version", options=options, tooltip=says)
        return _schema("Load", "EchoMimic Load", says, [version], [MODEL.Output("model", display_name="model")])

    @classmethod
    def fingerprint_inputs(cls, version: Any) -> Any:
        """What auto means may change: weights may have come."""
        return _chosen()[0] if AUTO in (version, version["version"] if isinstance(version, dict) else "") else ""

    @classmethod
    def execute(cls, version: dict[str, Any]) -> Any:
        """The model."""
        chosen = dict(version)
        name, why = str(chosen.pop("version")).lower(), ""
        if name == AUTO:
            name, why = _chosen()
        if chosen.pop("driven_by", "voice") == "landmarks":
            name += "-landmarks"
        if chosen.pop("speed", "full") == "fast":
            name += "-acc"
        return io.NodeOutput(run.load_model(name, fields.given(chosen), why))


def _version(preset: str) -> dict[str, object]:
    """The widgets of Load that mean a preset: its name taken apart, the rest as it stands before anybody changes it."""
    name, *parts = preset.split("-")
    if name not in ("v1", "v2"):
        return {
            "version": name,
            **({"version.workers": fields.defaults(["workers"])["workers"]} if name == "mesh" else {}),
        }
    inside = {"speed": "fast" if "acc" in parts else "full", **fields.defaults(fields.MACHINE)}
    del inside["workers"]
    if name == "v1":
        inside["driven_by"] = "landmarks" if "landmarks" in parts else "voice"
    return {"version": name.upper(), **{f"version.{key}": value for key, value in inside.items()}}


class CropPortrait(io.ComfyNode):  # type: ignore[misc]
    """A square round the head, and the way back."""

    @classmethod
    def define_schema(cls) -> Any:
        """A picture and which face of it."""
        inputs = [io.Image.Input("image"), *fields.make_inputs(io, PORTRAIT_OPTIONS, {"size": SIDE}), _box()]
        outputs = [
            io.Image.Output("portrait", display_name="portrait"),
            PLACE.Output("place", display_name="place"),
            io.String.Output("report", display_name="report"),
        ]
        says = "Crop a square round the head; place lets EchoMimic Paste Back put the video into the whole picture."
        return _schema("Portrait", "EchoMimic Portrait", says, inputs, outputs)

    @classmethod
    def execute(
        cls, image: Any, face: int, face_box: str, crop_margin: float, size: int, bounding_box: Any = None
    ) -> Any:
        """The crop, its place and what was found."""
        values = {"face": face, "face_box": face_box, "crop_margin": crop_margin, "size": size}
        pixels, place, report = run.crop(portrait_of(image), _given(values, bounding_box))
        host.show_report(cls, report)
        return io.NodeOutput(image_of([pixels]), place, report)


class PasteBack(io.ComfyNode):  # type: ignore[misc]
    """The video of a crop inside the whole picture."""

    @classmethod
    def define_schema(cls) -> Any:
        """The video, the whole picture and the place of the crop in it."""
        inputs = [
            io.Video.Input("video", tooltip="made of the crop, of any size"),
            io.Image.Input("image", tooltip="the picture that was cropped"),
            PLACE.Input("place", tooltip="of EchoMimic Portrait"),
        ]
        says = "Put the video of a crop back into the picture that it was cropped from, with a soft seam."
        outputs = [io.Video.Output("video", display_name="video")]
        return _schema("PasteBack", "EchoMimic Paste Back", says, inputs, outputs)

    @classmethod
    def execute(cls, video: Any, image: Any, place: Any) -> Any:
        """The whole picture, moving."""
        return io.NodeOutput(video_of(run.put_back(video, portrait_of(image), place)))


class MotionSource(io.ComfyNode):  # type: ignore[misc]
    """Where the motion comes from."""

    @classmethod
    def define_schema(cls) -> Any:
        """One link or folder at most; without any the voice makes the motion."""
        inputs = [
            io.Combo.Input(
                "folder",
                options=[NO_FOLDER, *host.input_folders(), *(f"tensorrt_lite/{name}" for name in host.poses())],
                default=NO_FOLDER,
                tooltip="a folder of the input folder: 0.pkl … of V1, 0.npy … of V2, or OpenPose JSON; read safely",
            ),
            io.Combo.Input("part", options=["face", "body"], default="face", tooltip="what is followed in a video"),
            io.Float.Input(
                "fps", default=25.0, min=1.0, max=120.0, step=1.0, tooltip="of key points and folders, which state none"
            ),
            io.Boolean.Input(
                "align",
                default=True,
                tooltip="put the movements on the portrait's own face or body; off: as they stand, "
                "but a face that stands elsewhere than the portrait's is put there",
            ),
            io.Video.Input("video", optional=True, tooltip="somebody who moves; its own frame rate holds"),
            io.Custom("POSE_KEYPOINT").Input("pose_keypoints", optional=True),
            io.Custom("FACE_LANDMARKS").Input("face_landmarks", optional=True),
        ]
        outputs = [MOTION.Output("motion", display_name="motion"), io.String.Output("report", display_name="report")]
        says = "A motion to follow: of a video, of key points that core nodes found, or of a folder in the old formats."
        return _schema("Motion", "EchoMimic Motion", says, inputs, outputs)

    @classmethod
    def fingerprint_inputs(cls, folder: str, **links: Any) -> Any:
        """A folder is read again when something in it has changed."""
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
        """The motion, None where the voice is to make it."""
        sources = {"video": video, "pose_keypoints": pose_keypoints, "face_landmarks": face_landmarks}
        with collect_notes() as notes:
            motion = motions.motion_of("" if folder == NO_FOLDER else folder, part == "body", fps, sources)
        driver = None if motion is None else motions.Driver(motion, align)
        report = "\n".join([motions.describe(motion), *run.lines_of(notes)])
        host.show_report(cls, report)
        return io.NodeOutput(driver, report)


class Sample(io.ComfyNode):  # type: ignore[misc]
    """The renderer, with every option."""

    @classmethod
    def define_schema(cls) -> Any:
        """Links, then a widget for each option of a rendering."""
        inputs = [
            MODEL.Input("model"),
            io.Image.Input("image"),
            io.Audio.Input("audio"),
            *fields.make_inputs(io, fields.RENDER),
            MOTION.Input("motion", optional=True),
            _box(),
        ]
        outputs = [*_made(), io.Audio.Output("audio", display_name="audio")]
        says = "Make the portrait speak. Frames go straight into a temporary .mp4; Get Video Components gives images."
        return _schema("Sampler", "EchoMimic Sampler", says, inputs, outputs)

    @classmethod
    def execute(
        cls, model: Any, image: Any, audio: Any, motion: Any = None, bounding_box: Any = None, **options: Any
    ) -> Any:
        """The clip, what is to be said of it, and its voice."""
        with collect_notes() as notes:
            portrait, speech = portrait_of(image), speech_of(audio)
        made = run.render(model, portrait, speech, motion, _given(options, bounding_box))
        report = "\n".join([made.report, *run.lines_of(notes)])
        host.show_report(cls, report)
        return io.NodeOutput(
            video_of(made.clip.path), report, audio_of(audio, made.clip.seconds), ui={"text": (report,)}
        )


class Talk(io.ComfyNode):  # type: ignore[misc]
    """One node that does it all."""

    @classmethod
    def define_schema(cls) -> Any:
        """A picture, a voice, a preset."""
        preset = io.Combo.Input(
            "preset", options=[AUTO, *PRESETS], default=AUTO, tooltip="auto: the best that can run here, else mesh"
        )
        options = fields.make_inputs(io, TALK_OPTIONS)
        inputs = [io.Image.Input("image"), io.Audio.Input("audio"), preset, *options]
        says = "A picture and a voice become a video of that person speaking. Works without weights."
        return _schema("Talk", "EchoMimic Talk", says, inputs, _made(), expands=True)

    @classmethod
    def execute(cls, image: Any, audio: Any, preset: str, **options: Any) -> Any:
        """Load and Sampler in its place: the host keeps the model for the next run, and drops it as it drops others."""
        graph = import_module("comfy_execution.graph_utils").GraphBuilder()
        model = graph.node("EchoMimicLoad", **_version(preset)).out(0)
        values = {**fields.defaults(fields.RENDER), **options}
        made = graph.node("EchoMimicSampler", model=model, image=image, audio=audio, **values)
        return io.NodeOutput(made.out(0), made.out(1), expand=graph.finalize())


def _chosen() -> tuple[str, str]:
    """What auto takes and why: the first folder that has all of a better one than mesh."""
    for folder in host.weight_folders():
        chosen, why = resolve_preset(AUTO, None, folder)
        if chosen.files:
            return chosen.name, why
    return "mesh", "no checkpoints, or no GPU, for another"


NODES = [Load, CropPortrait, PasteBack, MotionSource, Sample, Talk]
