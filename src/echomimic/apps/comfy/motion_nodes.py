"""Nodes for motions as data: predict one from a voice, edit it, look at it. Only ComfyUI imports this module."""

import json
from importlib import import_module
from typing import Any

import numpy as np

from echomimic.apps.comfy import host, widgets
from echomimic.apps.comfy.convert import image_of, portrait_of, speech_of, video_of
from echomimic.apps.comfy.nodes import MODEL, MOTION, make_options_of, make_outputs, make_schema
from echomimic.apps.comfy.render import Driver, describe_motion, limit_frames
from echomimic.cancellation import cancellable
from echomimic.errors import MotionError
from echomimic.notes import collect_notes
from echomimic.types import CURVES, Curve, Motion

io: Any = import_module("comfy_api.latest").io
_CURVE = io.Custom("CURVE")
_PREDICT_OPTIONS = (
    *("fps", "frames", "seed", "motion_strength", "mouth_strength", "blink_rate"),
    *("size", "framing", "face", "face_box", "crop_margin"),
)
_HANDS = tuple(f"{side}_{kind}" for side in ("left", "right") for kind in ("x", "y", "turn", "size"))
NONE = "none"
_MOST_KEYS, _RATE = 500, 16_000


class Example(io.ComfyNode):  # type: ignore[misc]
    """Gives the portrait and the voice that come with the package."""

    @classmethod
    def define_schema(cls) -> Any:
        description = (
            "A portrait (NASA, public domain) and a voice (flite) to try a workflow with; then link Load Image and "
            "Load Audio instead."
        )
        return make_schema(
            "Example", "EchoMimic Example", description, [], make_outputs(image=io.Image, audio=io.Audio)
        )

    @classmethod
    def execute(cls) -> Any:
        from echomimic.data import demo_portrait, demo_voice
        from echomimic.media import read_picture, read_speech, sound_blocks

        torch: Any = import_module("torch")
        sound = np.concatenate(list(sound_blocks(read_speech(demo_voice()), _RATE)))
        audio = {"waveform": torch.from_numpy(sound)[None, None], "sample_rate": _RATE}
        return io.NodeOutput(image_of([read_picture(demo_portrait()).pixels]), audio)


class PredictMotion(io.ComfyNode):  # type: ignore[misc]
    """Predicts the motion that a voice gives, without rendering."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [
            MODEL.Input("model"),
            io.Image.Input("image"),
            io.Audio.Input("audio"),
            *widgets.make_inputs(io, _PREDICT_OPTIONS),
        ]
        description = "The motion that a voice gives this portrait, to look at and to edit before EchoMimic Sampler."
        return make_schema(
            "PredictMotion",
            "EchoMimic Predict Motion",
            description,
            inputs,
            make_outputs(motion=MOTION, report=io.String),
        )

    @classmethod
    def execute(cls, model: Any, image: Any, audio: Any, **options: Any) -> Any:
        from echomimic import api

        with collect_notes() as notes, widgets.rewrite_option_names(), cancellable(host.stop_if_asked):
            portrait, speech = portrait_of(image), speech_of(audio)
            given: dict[str, Any] = limit_frames(make_options_of(options), model, speech)
            motion = api.predict(portrait, speech, preset=model.preset.name, engine=model.engine, **given)
        return _answer(cls, Driver(motion, align=False), notes)


class EditMotion(io.ComfyNode):  # type: ignore[misc]
    """Applies edits to a motion."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [
            MOTION.Input("motion"),
            io.String.Input(
                "edits",
                multiline=True,
                default="",
                optional=True,
                tooltip="one edit a line, as the motion editor shows them: scale_curve(track, 'jaw', 1.3), or in JSON: "
                '{"op": "scale_curve", "curve": "jaw", "gain": 1.3}',
            ),
            io.Combo.Input(
                "curve",
                options=[NONE, *(each.name for each in CURVES), *_HANDS],
                default=NONE,
                optional=True,
                tooltip="the curve that drawn replaces, and that comes out as curve",
            ),
            io.Float.Input(
                "gain",
                default=1.0,
                min=0.0,
                max=4.0,
                step=0.05,
                optional=True,
                tooltip="how many times as far that curve moves from its rest; 0 mutes it",
            ),
            _CURVE.Input(
                "drawn",
                optional=True,
                tooltip="of Curve Editor: left to right is the whole motion, bottom to top the curve's range",
            ),
        ]
        description = "Change a motion by edits, by a factor for one curve, or by a curve that Curve Editor draws."
        outputs = make_outputs(motion=MOTION, report=io.String, curve=_CURVE)
        return make_schema("EditMotion", "EchoMimic Edit Motion", description, inputs, outputs)

    @classmethod
    def execute(cls, motion: Any, edits: str = "", curve: str = NONE, gain: float = 1.0, drawn: Any = None) -> Any:
        from dataclasses import replace

        from echomimic.editing import edit_motion
        from echomimic.motion import find_curve, read_edits

        _check_motion(motion)
        if curve == NONE and (drawn is not None or gain != 1):
            raise MotionError("curve is none; expected the curve that gain or drawn changes: choose it")
        records: list[object] = list(_records(edits))
        if drawn is not None:
            keys = _keys(drawn, motion.motion, find_curve(motion.motion, curve))
            records.append({"op": "set_curve", "curve": curve, "keys": keys})
        if gain != 1:
            records.append({"op": "scale_curve", "curve": curve, "gain": gain})
        with collect_notes() as notes:
            edited = replace(motion, motion=edit_motion(motion.motion, read_edits(records)))
        return _answer(cls, edited, notes, None if curve == NONE else _points(edited.motion, curve))


class PreviewMotion(io.ComfyNode):  # type: ignore[misc]
    """Draws a motion over the portrait, beside its curves."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [
            MOTION.Input("motion"),
            io.Image.Input("image", optional=True, tooltip="the portrait that lies under the points"),
            io.Audio.Input("audio", optional=True, tooltip="the voice that is heard with them"),
        ]
        outputs = make_outputs(video=io.Video, sheet=io.Image)
        description = "Landmarks over the portrait and the curves of a motion: as a video, and as one picture."
        return make_schema("PreviewMotion", "EchoMimic Preview Motion", description, inputs, outputs)

    @classmethod
    def execute(cls, motion: Any, image: Any = None, audio: Any = None) -> Any:
        from echomimic.media import write_clip
        from echomimic.motion import preview_frames, preview_sheet

        _check_motion(motion)
        over = None if image is None else portrait_of(image)
        path, reporter = host.temporary(".mp4"), host.HostProgress()
        track: Motion = motion.motion

        def shown() -> Any:
            for done, frame in enumerate(preview_frames(track, over), start=1):
                reporter(done, len(track))
                reporter.show(frame)
                yield frame

        speech = None if audio is None else speech_of(audio)
        write_clip(path, shown(), track.fps, speech, {"title": "preview of a motion"})
        return io.NodeOutput(video_of(path), image_of([preview_sheet(track, over)]))


NODES = [Example, PredictMotion, EditMotion, PreviewMotion]


def _check_motion(driver: Any) -> None:
    if driver is None:
        raise MotionError("no motion is linked; expected one: link EchoMimic Motion or EchoMimic Predict Motion")


def _answer(node: Any, driver: Driver, notes: list[Any], *more: Any) -> Any:
    report = "\n".join([describe_motion(driver.motion), *widgets.note_lines(notes)])
    host.show_report(node, report)
    return io.NodeOutput(driver, report, *more)


def _records(text: str) -> list[object]:
    """The edits of a text: a JSON list, or one a line in Python or JSON. Raises MotionError."""
    if text.lstrip().startswith("["):
        return _json(text)
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    return [_json(line) if line.startswith("{") else line for line in lines]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MotionError(f"edits cannot be read as JSON ({error}); expected one edit a line, or a list") from None


def _keys(drawn: Any, motion: Motion, curve: Curve) -> list[tuple[float, float]]:
    """Keyframes (second, value) of the host's CURVE, whose both axes run from 0 to 1."""
    count = min(len(motion), _MOST_KEYS)
    across = np.linspace(0, 1, count)
    if hasattr(drawn, "interp_array"):
        heights = np.asarray(drawn.interp_array(across), np.float64)
    else:
        points = sorted(drawn["points"] if isinstance(drawn, dict) else drawn)
        heights = np.interp(across, [x for x, _ in points], [y for _, y in points])
    seconds = across * (len(motion) - 1) / motion.fps
    values = curve.low + np.clip(heights, 0, 1) * (curve.high - curve.low)
    return list(zip(seconds.tolist(), values.tolist(), strict=True))


def _points(motion: Motion, name: str) -> dict[str, Any]:
    """A curve as the host's CURVE."""
    from echomimic.motion import curve_keys, find_curve, read_curve

    curve, last = find_curve(motion, name), max(1e-9, (len(motion) - 1) / motion.fps)
    keys = curve_keys(read_curve(motion, name), curve, motion.fps)
    scaled = [[min(1.0, second / last), (value - curve.low) / (curve.high - curve.low)] for second, value in keys]
    return {"points": scaled, "interpolation": "linear"}
