"""The published checkpoint files: registry, search paths, reading, fetching and converting."""

from echomimic.checkpoints.geometry import Geometry as Geometry
from echomimic.checkpoints.geometry import read_geometry as read_geometry
from echomimic.checkpoints.geometry import write_geometry as write_geometry
from echomimic.checkpoints.lora import Lora as Lora
from echomimic.checkpoints.lora import LoraFile as LoraFile
from echomimic.checkpoints.lora import LoraMetadata as LoraMetadata
from echomimic.checkpoints.lora import other_preset as other_preset
from echomimic.checkpoints.lora import read_lora as read_lora
from echomimic.checkpoints.lora import read_lora_metadata as read_lora_metadata
from echomimic.checkpoints.lora import write_lora as write_lora
from echomimic.checkpoints.reading import cached_checksum as cached_checksum
from echomimic.checkpoints.reading import checksum as checksum
from echomimic.checkpoints.reading import default_folder as default_folder
from echomimic.checkpoints.reading import read_tensors as read_tensors
from echomimic.checkpoints.reading import release_pages as release_pages
from echomimic.checkpoints.registry import FILES as FILES
from echomimic.checkpoints.registry import WeightFile as WeightFile
from echomimic.checkpoints.registry import convert_file as convert_file
from echomimic.checkpoints.registry import fetch as fetch
from echomimic.checkpoints.registry import locate as locate
from echomimic.checkpoints.registry import require as require
from echomimic.checkpoints.registry import search_paths as search_paths
