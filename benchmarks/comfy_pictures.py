"""The pictures of the pack in ComfyUI: of its templates, its icon, its banner: python benchmarks/comfy_pictures.py.

The mesh examples show frames of the mesh engine; those that need checkpoints show the portrait, and over it what the
network would be driven by.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from echomimic.diffusion.condition_images import draw_motion
from echomimic.landmarks.body import find_body
from echomimic.landmarks.crop import frame_portrait
from echomimic.landmarks.face import pick_face
from echomimic.media import read_speech, sound_blocks
from echomimic.mesh.engine import MeshEngine
from echomimic.motion.gestures import gesture_track
from echomimic.options import make_options
from echomimic.types import Picture, Portrait, Speech
from samples import astronaut, demo_voice

PACK = Path(__file__).resolve().parents[1] / "comfyui"
SIDE, BAR, WAVE = 384, 46, 44
KILOBYTES = 30
BLUE = (79, 140, 255)


@dataclass(frozen=True)
class Sheet:
    """One picture: its label, what is drawn over the portrait, and whether a video or the voice drives it."""

    label: str
    over: str = ""
    film: bool = False
    second: float = 1.2
    framing: str = "crop"


SHEETS = {
    "talk": Sheet("Talk: one node", framing="full", second=0.8),
    "mesh": Sheet("mesh: no weights, any CPU", second=0.8),
    "mesh_from_video": Sheet("mesh, moved by a video", "landmarks", film=True),
    "long_voice": Sheet("a long voice, little memory", "strip"),
    "crop_and_paste_back": Sheet("crop, and put back", "box", framing="full"),
    "v1_voice": Sheet("V1, moved by the voice", "mask"),
    "v1_landmarks_from_video": Sheet("V1, moved by a video", "landmarks", film=True, second=2.0),
    "v2_generated_hands": Sheet("V2, hands made of the voice", "hands", second=2.0, framing="full"),
    "v2_from_video": Sheet("V2, hands of a video", "hands", film=True, second=3.2, framing="full"),
    "page_v1_voice": Sheet("published page: V1, voice", "mask", second=2.0),
    "page_v1_voice_fast": Sheet("published page: V1, 6 steps", "mask", second=0.8),
    "page_v1_pose_from_video": Sheet("published page: V1, pose", "landmarks", film=True, second=3.2),
    "page_v2": Sheet("published page: V2", "hands", second=0.8, framing="full"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=PACK)
    given = parser.parse_args()
    person, voice = astronaut(), read_speech(demo_voice())
    made = {f"example_workflows/{name}": picture(sheet, person, voice) for name, sheet in SHEETS.items()}
    made["images/icon"] = Image.fromarray(with_wave(drawn(SHEETS["mesh"], person, voice), voice, top=False))
    made["images/banner"] = Image.fromarray(banner(person, voice))
    for name, image in made.items():
        path = given.output / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=72, optimize=True)
        assert path.stat().st_size <= KILOBYTES * 1000, f"{path} has {path.stat().st_size} bytes"
        print(path, path.stat().st_size)


def picture(sheet: Sheet, person: Portrait, voice: Speech) -> Image.Image:
    """The portrait or a rendered frame, what moves it, the voice, and the label under them."""
    pixels = drawn(sheet, person, voice)
    if not sheet.film:
        pixels = with_wave(pixels, voice, top=sheet.over == "hands")
    image_size = Image.new("RGB", (SIDE, SIDE), (18, 20, 26))
    image_size.paste(Image.fromarray(pixels).resize((SIDE - BAR, SIDE - BAR), Image.Resampling.LANCZOS), (BAR // 2, 0))
    pen, font = ImageDraw.Draw(image_size), ImageFont.load_default(size=22)
    for row in range(8, SIDE - BAR - 12, 24) if sheet.film else ():
        for left in (BAR // 4 - 5, SIDE - BAR // 4 - 5):
            pen.rounded_rectangle((left, row, left + 10, row + 13), 3, (120, 126, 140))
    pen.text((SIDE / 2, SIDE - BAR / 2), sheet.label, (235, 238, 245), font, anchor="mm")
    return image_size


def drawn(sheet: Sheet, person: Portrait, voice: Speech) -> Picture:
    """The picture part, (384, 384, 3)."""
    options = make_options({"size": SIDE, "framing": sheet.framing})
    engine = MeshEngine()
    curves, scene = (
        engine.prepare(person, voice, None, options).curves.values,
        engine.prepare_portrait(person, options).scene,
    )
    frame = round(sheet.second * options.fps)
    if sheet.over == "strip":
        wide = [scene.frame(curves[frame + 9 * part])[:, 96:288] for part in range(4)]
        half = [cv2.resize(each, (96, 192), interpolation=cv2.INTER_AREA) for each in wide]
        return np.vstack([np.hstack(half), np.hstack(half[::-1])])
    if sheet.over == "hands":
        size = (person.width, person.height)
        track = gesture_track(voice, options.fps, None, 0, find_body(person), size)
        raised = np.argsort(track.hands[:, :, 0, 1].sum(axis=1))[round(10 * sheet.second)]
        return over(still(person, sheet.framing), draw_motion(track, int(raised), (SIDE, SIDE)))
    if sheet.over == "landmarks":
        motion = draw_motion(engine.prepare(person, voice, None, options).motion, frame, (SIDE, SIDE))
        if sheet.label.startswith("mesh"):
            return np.maximum(scene.frame(curves[frame]), motion)
        return over(still(person, sheet.framing), motion)
    if sheet.over == "mask":
        return with_mask(person, still(person, sheet.framing))
    shown = scene.frame(curves[frame])
    return with_box(person, shown) if sheet.over == "box" else shown


def still(person: Portrait, framing: str) -> Picture:
    """The portrait as it is framed."""
    options = make_options({"size": SIDE, "framing": framing})
    return frame_portrait(person, pick_face(person, options), options).cut(person.pixels)


def over(base: Picture, motion: Picture) -> Picture:
    """A drawn motion over a darkened picture."""
    lit = motion.max(axis=2, keepdims=True) > 24
    return np.where(lit, motion, (base * 0.55).astype(np.uint8))


def with_mask(person: Portrait, base: Picture) -> Picture:
    """The area in which the face moves, as V1 receives it."""
    options = make_options({"size": SIDE, "framing": "crop"})
    face = pick_face(person, options)
    points = frame_portrait(person, face, options).points(face.landmarks)[:, :2]
    (left, top), (right, bottom) = points.min(0), points.max(0)
    room = 0.1 * max(right - left, bottom - top)
    box = [round(float(x)) for x in (left - room, top - room, right + room, bottom + room)]
    shown = (base * 0.55).astype(np.uint8)
    shown[box[1] : box[3], box[0] : box[2]] = base[box[1] : box[3], box[0] : box[2]]
    return np.asarray(cv2.rectangle(shown, (box[0], box[1]), (box[2], box[3]), BLUE, 3), np.uint8)


def with_box(person: Portrait, shown: Picture) -> Picture:
    """Where the crop lies in the whole picture."""
    options = make_options({"framing": "crop"})
    box, scale = frame_portrait(person, pick_face(person, options), options), SIDE / person.width
    near = (round(box.left * scale), round(box.top * scale))
    far = (round((box.left + box.source_width) * scale), round((box.top + box.source_height) * scale))
    return np.asarray(cv2.rectangle(shown.copy(), near, far, BLUE, 3), np.uint8)


def banner(person: Portrait, voice: Speech) -> Picture:
    """Three moments of the voice side by side, (288, 672, 3): 21 to 9."""
    options = make_options({"size": 288, "framing": "crop"})
    engine = MeshEngine()
    curves, scene = (
        engine.prepare(person, voice, None, options).curves.values,
        engine.prepare_portrait(person, options).scene,
    )
    return np.hstack([scene.frame(curves[round(second * options.fps)])[:, 32:256] for second in (0.8, 1.2, 2.0)])


def with_wave(shown: Picture, voice: Speech, top: bool) -> Picture:
    """The voice as bars over the lower or the upper edge of a picture."""
    sound = np.concatenate([block.ravel() for block in sound_blocks(voice, 16_000)])
    bars = [np.abs(part).max() for part in np.array_split(sound, SIDE // 6)]
    result, middle = shown.copy(), WAVE // 2 if top else SIDE - WAVE // 2
    result[middle - WAVE // 2 : middle + WAVE // 2] //= 2
    for place, loud in enumerate(bars):
        high = max(1, round(loud / max(bars) * WAVE * 0.42))
        result[middle - high : middle + high, 6 * place + 1 : 6 * place + 5] = BLUE
    return result


if __name__ == "__main__":
    main()
