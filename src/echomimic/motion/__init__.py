"""Motion as data: face and hand tracks to read, make, change, align and look at."""

from echomimic.motion.files import load_edits, load_motion, save_motion

__all__ = ["load_edits", "load_motion", "save_motion"]
