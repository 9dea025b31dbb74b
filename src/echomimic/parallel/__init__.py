"""Work on many items in several processes: of this machine, or of a Ray cluster; and the manifests that name them."""

from echomimic.parallel.cluster import LOCAL, connect
from echomimic.parallel.manifest import parse_shard, read_rows
from echomimic.parallel.runner import Runner
from echomimic.parallel.worker import Worker, available_cores

__all__ = ["LOCAL", "Runner", "Worker", "available_cores", "connect", "parse_shard", "read_rows"]
