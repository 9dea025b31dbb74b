"""How much memory a run takes, about: the weights, and the widest layer of what runs at one time."""

from echomimic.checkpoints import FILES
from echomimic.diffusion.device import choose_device, choose_dtype, picture_dtype
from echomimic.diffusion.vae import FACTOR
from echomimic.options import Options
from echomimic.presets import Preset

DECODED = 4
"""Pictures that are decoded together."""
NETWORK_WIDTH = 2560 + 1280 + 4 * 320
"""Numbers for each latent pixel at the network's widest: both halves of the gate, its product, and what is kept."""
DECODER_WIDTH = 4 * 256
"""Numbers for each picture pixel at the decoder's widest."""


def peak_megabytes(preset: Preset, options: Options, width: int, height: int) -> int:
    """Megabytes at the peak on the device, about; with `offload` the largest network alone counts."""
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    sizes = [FILES[name].elements * dtype.itemsize for name in dict.fromkeys(preset.files.values())]
    weights = max(sizes, default=0) * 2 if options.offload else sum(sizes)
    windows = options.context_frames * options.context_batch
    denoising = windows * (width // FACTOR) * (height // FACTOR) * NETWORK_WIDTH * dtype.itemsize
    decoding = DECODED * width * height * DECODER_WIDTH * picture_dtype(dtype, device).itemsize
    return (weights + max(denoising, decoding)) // 2**20
