"""The routes of the server (the API, the page and the editor), and the state that they share."""

from dataclasses import dataclass

from echomimic.apps.jobs.queue import JobQueue
from echomimic.apps.server.settings import Settings
from echomimic.apps.server.streams import StreamLimit
from echomimic.apps.server.uploads import Uploads


@dataclass(frozen=True)
class AppState:
    """The settings, the queue, the uploads in progress and the open streams of a server."""

    settings: Settings
    queue: JobQueue
    uploads: Uploads
    streams: StreamLimit
