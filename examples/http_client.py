"""A job on a running server: python examples/http_client.py [URL [PORTRAIT VOICE [OUT]]]."""

import sys

from echomimic.client import Client
from echomimic.data import data_path


def main(url: str = "http://127.0.0.1:8765", portrait: str = "", voice: str = "", output: str = "remote.mp4") -> None:
    """Submit a job, follow its progress, and download the video."""
    client = Client(url)
    job = client.animate(
        portrait or data_path("astronaut.png"), voice or data_path("demo_voice.flac"), preset="mesh", size=256
    )
    job = client.wait(job, lambda done, total: sys.stderr.write(f"\r{done} of {total} frames") and None)
    path = client.download(job, output)
    sys.stderr.write(f"\n{path}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
