"""Curves as blendshapes of other programs: ARKit's names as CSV, VRM's expressions as JSON.

Only curves that these formats can express are written. ARKit's signs for gaze and head are those of the person, ours
those of the picture: the person's left is the picture's right.
"""

import csv
import io
import json
from pathlib import Path

import numpy as np

from echomimic.errors import MotionError
from echomimic.media import write_file
from echomimic.types import Curves, Floats

ARKIT: tuple[str, ...] = (
    *("jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthStretchLeft", "mouthStretchRight"),
    *("mouthUpperUpLeft", "mouthUpperUpRight", "mouthRollLower", "mouthPressLeft", "mouthPressRight"),
    *("mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight"),
    *("eyeBlinkLeft", "eyeBlinkRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("browDownLeft", "browDownRight", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookInRight", "eyeLookOutRight"),
    *("eyeLookUpLeft", "eyeLookUpRight", "eyeLookDownLeft", "eyeLookDownRight", "tongueOut"),
)
"""The blendshapes that are written, by ARKit's names. `tongueOut` is always 0: our tongue stays inside the mouth."""
HEAD: tuple[str, ...] = ("HeadYaw", "HeadPitch", "HeadRoll")
"""Angles in radians that Live Link Face writes together with the blendshapes."""
WITHOUT_MEANING: tuple[str, ...] = ("tongue", "breath", "sway", "shift_x", "shift_y")
"""Curves that neither format can express; VRM also lacks `tuck` and `upper_lip`."""
_EYE_RANGE = 25.0
"""Degrees of gaze that give a weight of 1."""


def arkit_weights(curves: Curves) -> dict[str, Floats]:
    """Weights 0..1 (T,) by ARKit's name; a jaw open behind shut lips becomes `mouthClose`, as Apple defines it."""
    jaw, shut, spread = curves["jaw"], curves["closure"], curves["spread"]
    narrow, wide = np.maximum(-spread, 0), np.maximum(spread, 0)
    smile, brow = curves["smile"], curves["brow"]
    across, down = curves["gaze_x"] / _EYE_RANGE, curves["gaze_y"] / _EYE_RANGE
    left, right, up, low = np.maximum(across, 0), np.maximum(-across, 0), np.maximum(-down, 0), np.maximum(down, 0)
    sides = {
        "mouthStretch": (wide, wide),
        "mouthUpperUp": (curves["upper_lip"],) * 2,
        "mouthPress": (shut * (1 - jaw),) * 2,
        "mouthSmile": (np.maximum(smile, 0),) * 2,
        "mouthFrown": (np.maximum(-smile, 0),) * 2,
        "eyeBlink": (curves["blink"],) * 2,
        "browOuterUp": (np.maximum(brow, 0),) * 2,
        "browDown": (np.maximum(-brow, 0),) * 2,
        "eyeLookIn": (right, left),
        "eyeLookOut": (left, right),
        "eyeLookUp": (up, up),
        "eyeLookDown": (low, low),
    }
    found = {f"{name}{side}": values[k] for name, values in sides.items() for k, side in enumerate(("Left", "Right"))}
    found |= {
        "jawOpen": jaw,
        "mouthClose": jaw * shut,
        "mouthFunnel": narrow * jaw,
        "mouthPucker": narrow * (1 - jaw),
        "mouthRollLower": curves["tuck"],
        "browInnerUp": np.maximum(brow, 0),
        "tongueOut": 0 * jaw,
    }
    return {name: np.clip(found[name], 0, 1).astype(np.float32) for name in ARKIT}


def vrm_weights(curves: Curves) -> dict[str, Floats]:
    """Weights 0..1 (T,) of VRM 1.0 expressions: five vowels, blink, gaze, happy and sad.

    Open lips are divided among the vowels by their width: ou where rounded, ee and ih where spread, aa and oh between.
    """
    opening = curves["jaw"] * (1 - curves["closure"])
    spread, smile = curves["spread"], curves["smile"]
    narrow, wide = np.maximum(-spread, 0), np.maximum(spread, 0)
    across, down = curves["gaze_x"] / _EYE_RANGE, curves["gaze_y"] / _EYE_RANGE
    found = {
        "aa": opening * (1 - narrow) * (1 - 0.5 * wide),
        "oh": opening * narrow,
        "ou": narrow * (1 - opening) * (1 - curves["closure"]),
        "ee": opening * 0.5 * wide,
        "ih": wide * (1 - opening) * (1 - curves["closure"]) * 0.5,
        "blink": curves["blink"],
        "lookLeft": np.maximum(across, 0),
        "lookRight": np.maximum(-across, 0),
        "lookUp": np.maximum(-down, 0),
        "lookDown": np.maximum(down, 0),
        "happy": np.maximum(smile, 0),
        "sad": np.maximum(-smile, 0),
    }
    return {name: np.clip(values, 0, 1).astype(np.float32) for name, values in found.items()}


def export_blendshapes(path: str | Path, curves: Curves) -> Path:
    """Write curves to `NAME.csv` (ARKit, as Live Link Face writes it) or `NAME.json` (VRM 1.0 expressions).

    Raises MotionError for another suffix, OutputError.
    """
    path = Path(path)
    writers = {".csv": _arkit_csv, ".json": _vrm_json}
    if path.suffix.lower() not in writers:
        raise MotionError(f"{path} has no known suffix; expected a name in .csv (ARKit) or .json (VRM)")
    write_file(path, writers[path.suffix.lower()](curves))
    return path


def _arkit_csv(curves: Curves) -> str:
    """One row per frame: timecode, number of values, then weights and head angles."""
    weights = arkit_weights(curves)
    angles = np.radians([curves["yaw"], curves["pitch"], curves["roll"]]) * [[-1], [1], [-1]]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in ARKIT), *HEAD])
    for frame in range(len(curves)):
        values = [*(weights[name][frame] for name in ARKIT), *angles[:, frame]]
        rows.writerow([_timecode(frame, curves.fps), len(values), *(f"{value:.6f}" for value in values)])
    return text.getvalue()


def _timecode(frame: int, fps: float) -> str:
    """Hours, minutes, seconds and frame at the curves' rate."""
    whole, rate = divmod(frame / fps + 1e-9, 1), fps
    seconds = int(whole[0])
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{whole[1] * rate:06.3f}"


def _vrm_json(curves: Curves) -> str:
    """`fps`, and a list of weights per expression."""
    weights = {name: [round(float(v), 4) for v in values] for name, values in vrm_weights(curves).items()}
    head = {name: [round(float(v), 3) for v in curves[name]] for name in ("yaw", "pitch", "roll")}
    return json.dumps({"format": "vrm-expressions", "fps": curves.fps, "expressions": weights, "head_degrees": head})
