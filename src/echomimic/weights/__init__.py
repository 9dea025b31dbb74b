"""The published checkpoint files: what they are, where they lie, how they are read, fetched and converted."""

from echomimic.weights.convert import convert_file
from echomimic.weights.fetch import fetch
from echomimic.weights.files import FILES, WeightFile, default_folder, find, folders, look
from echomimic.weights.reading import checksum, give_back, read_tensors

__all__ = [
    "FILES",
    "WeightFile",
    "checksum",
    "convert_file",
    "default_folder",
    "fetch",
    "find",
    "folders",
    "give_back",
    "look",
    "read_tensors",
]
