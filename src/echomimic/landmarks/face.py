"""Find the faces of a picture, choose the one to animate, and turn a picture whose face is not upright."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from echomimic.errors import FaceError
from echomimic.landmarks.detectors import Box, detect_faces, face_landmarker
from echomimic.landmarks.face_quality import FaceQuality, crop_square, measure_quality
from echomimic.landmarks.topology import EAR_LEFT, EAR_RIGHT
from echomimic.notes import note
from echomimic.options import Options
from echomimic.types import Floats, Picture, Portrait

SMALLEST = 64
"""A face narrower than this many pixels is refused: its mouth would be a dozen pixels wide."""
WIDEST_YAW = 32.0
"""Degrees past which a head counts as a profile: the far side of the face is not in the picture."""
_TILE = 960
"""Pixels of the side of a tile in which small faces are looked for, if that is more than an eighth of the picture."""
_LARGE = 1.25 * _TILE
"""Longer side above which a pattern of the picture may look like a large face while the true faces are small."""
_TURNS = (2, 1, 3)
"""Quarter turns counter-clockwise to try, the usual one first."""
_LONE, _FAINT = 0.2, 0.05
"""Confidence from which the one face of a crop counts: usually, and where the user says that there is one."""
_QUICK = 1280
"""Longer side to which a picture is shrunk when it is searched in other orientations for a first face."""


@dataclass(frozen=True)
class Face:
    """A face: `landmarks` (478, 3) float32 in pixels of the picture, z growing away from the viewer."""

    landmarks: Floats

    @property
    def box(self) -> Box:
        """x, y, width, height of the landmarks."""
        low, high = self.landmarks[:, :2].min(0), self.landmarks[:, :2].max(0)
        return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])

    @property
    def size(self) -> float:
        """The longer side of the box, in pixels."""
        return max(self.box[2:])

    @property
    def yaw(self) -> float:
        """Degrees by which the head is turned; positive towards the right of the picture."""
        across = self.landmarks[EAR_RIGHT] - self.landmarks[EAR_LEFT]
        return math.degrees(math.atan2(float(across[2]), float(np.hypot(across[0], across[1]))))


@dataclass(frozen=True)
class LocatedFace:
    """The portrait, turned if its face was not upright, and the face to animate in it."""

    portrait: Portrait
    face: Face


class _Search:
    """Finds faces in pictures, and keeps the quality of those that were measured."""

    def __init__(self) -> None:
        self._measured: list[tuple[Picture, Face, FaceQuality]] = []

    def faces(self, pixels: Picture, most: int) -> list[Face]:
        """Every face of a picture (H, W, 3), from left to right."""
        faces = [Face(points) for points in face_landmarker(most=most)(pixels)]
        height, width = pixels.shape[:2]
        doubtful = [face for face in faces if max(width, height) > _LARGE and self.quality(pixels, face).is_spurious]
        faces = [face for face in faces if all(face is not each for each in doubtful)]
        if not faces or max(face.size for face in faces) < 0.3 * max(width, height):
            self._add(faces, pixels, [found.box for found in detect_faces(pixels, full_range=True, confidence=0.4)])
            self._add(faces, pixels, self._small_boxes(pixels), sure=True)
        if not faces and not doubtful:
            faces = self.inside(pixels, _grown((0.0, 0.0, width, height), 0.5))
        if not faces and not doubtful:
            faces = [face for tile in _tiles(pixels, max(width, height) / 2) for face in self.inside(pixels, tile)]
        return sorted(_distinct(faces or doubtful), key=lambda face: face.box[0])

    def inside(self, pixels: Picture, box: Box, *, faint: bool = False) -> list[Face]:
        """The face in a box of the picture, which may reach beyond the picture; with `faint` at the lowest score."""
        view, scale = crop_square(pixels, box, 512)
        shift = np.array([box[0], box[1], 0])
        find = face_landmarker(confidence=_FAINT if faint else _LONE)
        return [Face((points / scale + shift).astype(np.float32)) for points in find(view)]

    def quality(self, pixels: Picture, face: Face) -> FaceQuality:
        """The reliability of the face, measured once."""
        for known_pixels, known_face, quality in self._measured:
            if known_pixels is pixels and known_face is face:
                return quality
        quality = measure_quality(pixels, face.landmarks, face_landmarker(confidence=_LONE))
        self._measured.append((pixels, face, quality))
        return quality

    def _add(self, faces: list[Face], pixels: Picture, boxes: list[Box], *, sure: bool = False) -> None:
        """Add the faces in `boxes` that are not known yet; with `sure` only those that pass a second check."""
        for box in boxes:
            if not any(_overlap(box, face.box) > 0.1 for face in faces):
                found = [face for face in self.inside(pixels, _grown(box, 1.0)) if _overlap(box, face.box) > 0.3]
                faces += [face for face in found if not sure or not self.quality(pixels, face).is_doubtful]

    def _small_boxes(self, pixels: Picture) -> list[Box]:
        """Boxes of the faces in overlapping tiles of a large picture, largest first."""
        longest = max(pixels.shape[:2])
        side = max(_TILE, longest / 8)
        boxes: list[Box] = []
        for x, y, w, h in _tiles(pixels, side) if longest > 1.25 * side else ():
            view, scale = crop_square(pixels, (x, y, w, h), 480)
            for found in detect_faces(view, full_range=True, confidence=0.4):
                left, top, width, height = (value / scale for value in found.box)
                boxes.append((left + x, top + y, width, height))
        return sorted((box for box in boxes if max(box[2:]) >= SMALLEST / 2), key=lambda box: -box[2])


def find_faces(pixels: Picture, most: int = 12) -> list[Face]:
    """Find every face of a picture (H, W, 3), from left to right; small ones and ones that fill it too."""
    return _Search().faces(pixels, most)


def find_upright_faces(pixels: Picture, most: int = 12) -> tuple[int, list[Face]]:
    """The quarter turns counter-clockwise that make a picture's largest face upright, and the faces when it is turned.

    0 turns if the face is upright already, or if no turn shows an upright one.
    """
    search = _Search()
    faces = search.faces(pixels, most)
    turn = _turn_of(search, Portrait(pixels), faces, Options())
    return turn, search.faces(np.ascontiguousarray(np.rot90(pixels, turn)), most) if turn else faces


def locate_face(portrait: Portrait, options: Options) -> LocatedFace:
    """Find the face to animate: the one in `face_box`, number `face` from the left, or the largest.

    The picture is turned if its face is sideways or upside down. Raises FaceError if there is no face or it is too
    small. Notes: picture_turned, largest_face_used, head_turned, mouth_cut_off, mouth_hidden, face_doubtful.
    """
    search = _Search()
    faces = _candidates(search, portrait, options)
    turn = _turn_of(search, portrait, faces, options)
    if turn:
        options = _turned_options(options, portrait, turn)
        portrait = turned_portrait(portrait, turn)
        faces = _candidates(search, portrait, options)
    face = _choose(portrait, faces, options)
    if face.size < SMALLEST:
        raise FaceError(
            f"the face in {portrait.name} is {face.size:.0f} px; expected at least {SMALLEST}: "
            "use a larger picture, or a closer one",
            code="face_too_small",
        )
    _note_doubts(portrait, face, search.quality(portrait.pixels, face))
    return LocatedFace(portrait, face)


def pick_face(portrait: Portrait, options: Options) -> Face:
    """The face of `locate_face`, for a picture that must not be turned: FaceError if it would have to be."""
    found = locate_face(portrait, options)
    if found.portrait is not portrait:
        raise FaceError(
            f"the face in {portrait.name} is not upright; expected a picture the right way up: turn it and try again",
            code="face_not_upright",
        )
    return found.face


def upright_portrait(portrait: Portrait) -> Portrait:
    """The portrait, turned with a note if its face is sideways or upside down; as it is if no face is found."""
    turn, _ = find_upright_faces(shrink(portrait.pixels, _QUICK)[0])
    return turned_portrait(portrait, turn) if turn else portrait


def turned_portrait(portrait: Portrait, turn: int) -> Portrait:
    """Turn the portrait by this number of quarters counter-clockwise, with a note."""
    note(
        "picture_turned",
        "the face in {name} is {how}: the picture is turned by {degrees} degrees{way}",
        name=portrait.name,
        **turn_values(turn),
    )
    alpha = None if portrait.alpha is None else np.ascontiguousarray(np.rot90(portrait.alpha, turn))
    return replace(portrait, pixels=np.ascontiguousarray(np.rot90(portrait.pixels, turn)), alpha=alpha)


def turn_values(turn: int) -> dict[str, object]:
    """The words for a picture or video that needs `turn` quarters counter-clockwise, for notes."""
    return {
        "how": "upside down" if turn == 2 else "sideways",
        "degrees": 180 if turn == 2 else 90,
        "way": {1: " counter-clockwise", 2: "", 3: " clockwise"}[turn],
    }


def _candidates(search: _Search, portrait: Portrait, options: Options) -> list[Face]:
    """The faces of the portrait from left to right, or the one in the box that the options give."""
    if options.face_box:
        return _faces_in_box(search, portrait, options.face_box)
    return search.faces(portrait.pixels, 12)


def _choose(portrait: Portrait, faces: list[Face], options: Options) -> Face:
    """The face that the options ask for; a note if the largest of several is taken."""
    if not faces:
        raise _no_face(portrait, options)
    if options.face is None or options.face_box:
        number = max(range(len(faces)), key=lambda index: faces[index].size)
        if len(faces) > 1:
            note(
                "largest_face_used",
                "{count} faces in {name}: taking the largest, number {number} from the left (`face` N takes another)",
                count=len(faces),
                name=portrait.name,
                number=number + 1,
            )
        return faces[number]
    if options.face > len(faces):
        raise FaceError(
            f"`face` is {options.face}; expected 1 to {len(faces)}, the faces of {portrait.name} from left to right",
            code="face_number_invalid",
        )
    return faces[options.face - 1]


def _turn_of(search: _Search, portrait: Portrait, faces: list[Face], options: Options) -> int:
    """By how many quarters to turn a portrait with these faces; 0 if the chosen face is upright, or no face is."""
    if not faces:
        skip = options.face_box or _picture_fault(portrait.pixels)
        return 0 if skip else _best_turn(search, shrink(portrait.pixels, _QUICK)[0], Options())
    face = faces[min(options.face, len(faces)) - 1] if options.face else max(faces, key=lambda face: face.size)
    return _best_turn(search, portrait.pixels, options) if search.quality(portrait.pixels, face).is_suspect else 0


def _best_turn(search: _Search, pixels: Picture, options: Options) -> int:
    """The turn that shows an upright face most surely; 0 if none does."""
    best = (0.0, 0)
    for turn in _TURNS:
        portrait = Portrait(np.ascontiguousarray(np.rot90(pixels, turn)))
        faces = _candidates(search, portrait, _turned_options(options, Portrait(pixels), turn))
        if faces:
            quality = search.quality(portrait.pixels, max(faces, key=lambda face: face.size))
            if quality.is_upright:
                best = max(best, (quality.score - quality.keypoints, turn))
    return best[1]


def _turned_options(options: Options, portrait: Portrait, turn: int) -> Options:
    """The options with a face box that is turned with the picture."""
    if not options.face_box:
        return options
    x, y, w, h = options.face_box
    width, height = portrait.width, portrait.height
    boxes = {1: (y, width - x - w, h, w), 2: (width - x - w, height - y - h, w, h), 3: (height - y - h, x, h, w)}
    return replace(options, face_box=boxes[turn])


def _no_face(portrait: Portrait, options: Options) -> FaceError:
    """The error for a picture or a box without a face; it says whether the picture shows anything."""
    if options.face_box:
        x, y, w, h = options.face_box
        return FaceError(
            f"no face found in the box {x:g},{y:g},{w:g},{h:g} of {portrait.name}; expected one seen from the front: "
            "draw the box from the hairline to the chin and from ear to ear"
        )
    start = f"no face found in {portrait.name} ({portrait.width}x{portrait.height})"
    fault = _picture_fault(portrait.pixels)
    if fault:
        return FaceError(f"{start}: {fault}; expected a photo: open the file in a viewer", code="picture_empty")
    return FaceError(f"{start}; expected one seen from the front: say where it is with `face_box` x,y,w,h")


def _picture_fault(pixels: Picture) -> str:
    """Why a picture cannot show a face: it is blank, cut off or noise; empty if it seems sound."""
    small = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    if small.std(axis=(0, 1)).max() < 3:
        return "it is black" if small.max() < 24 else "it is one colour"
    rows = small.std(axis=1).max(axis=1) < 1
    same = int(np.argmin(rows[::-1])) if not rows.all() else 0
    if same >= 16:
        return f"its lower {same / 64:.0%} is one colour, as in a truncated file"
    height, width = (min(side, 512) for side in pixels.shape[:2])
    grey = pixels[:height, :width].astype(np.float32).mean(axis=2)
    steps = np.abs(np.diff(grey, axis=1)).mean()
    return "it is noise, as of a file that was decoded wrongly" if steps > 0.8 * grey.std() and steps > 16 else ""


def _note_doubts(portrait: Portrait, face: Face, quality: FaceQuality) -> None:
    """Make notes about what will look wrong in the video."""
    if abs(face.yaw) > WIDEST_YAW:
        note(
            "head_turned",
            "the head in {name} is turned by about {degrees:.0f} degrees; beyond {limit:.0f} the far cheek and lip may "
            "look wrong: a picture from the front works better",
            name=portrait.name,
            degrees=abs(face.yaw),
            limit=WIDEST_YAW,
        )
    if quality.outside:
        note(
            "mouth_cut_off",
            "mouth or chin in {name} reach beyond the border of the picture and will look cut off: use a picture that "
            "shows the whole face",
            name=portrait.name,
        )
    elif quality.hides_mouth and not quality.is_faint:
        note(
            "mouth_hidden",
            "the mouth in {name} seems to be covered; a mouth will be drawn over what covers it: use a picture that "
            "shows the lips",
            name=portrait.name,
        )
    elif quality.is_doubtful:
        note(
            "face_doubtful",
            "the face in {name} is hard to make out and may not be a human face; mouth and eyes may be in the wrong "
            "place: a photo from the front works better, or say where the face is with `face_box` x,y,w,h",
            name=portrait.name,
        )


def _faces_in_box(search: _Search, portrait: Portrait, box: Box) -> list[Face]:
    x, y, w, h = box
    if w <= 0 or h <= 0 or x >= portrait.width or y >= portrait.height or x + w <= 0 or y + h <= 0:
        raise FaceError(
            f"the face box {x:g},{y:g},{w:g},{h:g} is not inside {portrait.name} ({portrait.width}x{portrait.height}); "
            "expected x,y,w,h in its pixels"
        )
    for margin in (0.5, 0.25, 1.0):
        faces = [
            face
            for face in search.inside(portrait.pixels, _grown(box, margin), faint=True)
            if _overlap(box, face.box) > 0.2
        ]
        if faces:
            return faces
    return []


def _tiles(pixels: Picture, side: float) -> Iterator[Box]:
    """Overlapping squares of `side` pixels that cover a picture, a third of each shared with the next."""
    height, width = pixels.shape[:2]
    for top in _starts(height, side):
        for left in _starts(width, side):
            yield left, top, side, side


def _starts(length: float, side: float) -> list[float]:
    count = 1 + max(0, math.ceil((length - side) / (side * 2 / 3)))
    return np.linspace(0, max(0, length - side), count).tolist()


def shrink(pixels: Picture, longest: int) -> tuple[Picture, float]:
    """The picture with its longer side at most `longest`, and its scale, which is 1 if it was small enough."""
    scale = longest / max(pixels.shape[:2])
    if scale >= 1:
        return pixels, 1.0
    return np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8), scale


def _grown(box: Box, margin: float) -> Box:
    x, y, w, h = box
    side = max(w, h) * (1 + 2 * margin)
    return x + w / 2 - side / 2, y + h / 2 - side / 2, side, side


def _overlap(a: Box, b: Box) -> float:
    """Shared area over the smaller box's area."""
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(0.0, wide) * max(0.0, high) / max(1e-6, min(a[2] * a[3], b[2] * b[3]))


def _distinct(faces: list[Face]) -> list[Face]:
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.size):
        if all(_overlap(face.box, other.box) < 0.5 for other in kept):
            kept.append(face)
    return kept
