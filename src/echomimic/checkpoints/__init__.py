"""The published checkpoint files: registry, search paths, reading, fetching and converting."""

from echomimic.checkpoints.geometry import Geometry, read_geometry, write_geometry
from echomimic.checkpoints.lora import (
    Lora,
    LoraFile,
    LoraMetadata,
    other_preset,
    read_lora,
    read_lora_metadata,
    write_lora,
)
from echomimic.checkpoints.reading import cached_checksum, checksum, default_folder, read_tensors, release_pages
from echomimic.checkpoints.registry import FILES, WeightFile, convert_file, fetch, locate, require, search_paths

__all__ = [
    "FILES",
    "Geometry",
    "Lora",
    "LoraFile",
    "LoraMetadata",
    "WeightFile",
    "cached_checksum",
    "checksum",
    "convert_file",
    "default_folder",
    "fetch",
    "locate",
    "other_preset",
    "read_geometry",
    "read_lora",
    "read_lora_metadata",
    "read_tensors",
    "release_pages",
    "require",
    "search_paths",
    "write_geometry",
    "write_lora",
]
