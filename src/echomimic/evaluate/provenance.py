"""The run card: everything somebody needs to get the same figures again."""

import platform
from importlib.metadata import PackageNotFoundError, version

from echomimic import __version__
from echomimic.evaluate import learned_metrics as deep
from echomimic.evaluate import picture, syncnet
from echomimic.evaluate.catalogue import metrics
from echomimic.evaluate.measure import DIGITS
from echomimic.evaluate.networks import Networks
from echomimic.evaluate.settings import Settings

_PACKAGES = ("av", "mediapipe", "numpy", "opencv-contrib-python", "scikit-image", "torch", "torchmetrics")


def package_versions() -> dict[str, str]:
    """The versions of what figures depend on; what is not installed is left out."""
    found = {"echomimic": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def make_card(settings: Settings, networks: Networks, clips: list[dict[str, object]]) -> dict[str, object]:
    """The card of a report; `clips` say their path, sha256s and codec."""
    chosen = [metric for metric in metrics().values() if metric.group in settings.groups]
    return {
        "packages": package_versions(),
        "metrics": {metric.name: metric.version for metric in chosen},
        "options": settings.as_dict(),
        "weights": dict(networks.digests),
        "digits": DIGITS,
        "fps": "each clip's own; SyncNet 25",
        "crop": {
            "picture": f"whole frame, longer side at most {picture.SIDE} px",
            "face": f"five points to {deep.FACE_SIDE} px (csim) and {deep.EXPRESSION_SIDE} px (efid)",
            "syncnet": f"box of 468 landmarks and {syncnet.ROOM:g} of it, {syncnet.SIDE} px, JPEG {syncnet.JPEG}",
            "fid, lpips, psnr, ssim": "whole frame",
            "fvd": f"whole frame to {deep.WINDOW_SIDE} px, {deep.WINDOW} frames",
        },
        "clips": clips,
    }
