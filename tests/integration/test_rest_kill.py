"""A server that is killed in the middle of everything: no job is lost, and no partial file appears."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from echomimic.client import Client, ServerError
from helpers.rest_server import FINAL, free_port, kill, png, start, wav
from helpers.rest_worker import SLOW
from helpers.waiting import PATIENCE, wait_for_names, wait_until


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_jobs_survive_repeated_kills_of_the_server(tmp_path: Path) -> None:
    data, port = tmp_path / "data", free_port()
    (tmp_path / "me.png").write_bytes(png())
    (tmp_path / "voice.wav").write_bytes(wav())
    client, jobs = Client(f"http://127.0.0.1:{port}", timeout=PATIENCE), list[Any]()
    for pause in (0.0, 0.5):
        process = start(data, port)
        try:
            for seed in (1, SLOW, 2):
                jobs.append(client.animate(tmp_path / "me.png", tmp_path / "voice.wav", seed=seed))
            with pytest.raises(ServerError):
                next(iter(client.live(jobs[-2])))
                time.sleep(pause)
                kill(process)
                client.get(jobs[0])
        finally:
            kill(process)
    process = start(data, port)
    try:
        wait_until(lambda: all(client.get(job)["state"] in FINAL for job in jobs), "all jobs have ended")
        for place, job in enumerate(map(client.get, jobs)):
            assert (job["state"], job["result"]["frames"]) == ("succeeded", 25)
            client.download(job, tmp_path / f"{place}.mp4")
            wait_for_names(data / "jobs" / job["id"], "result.mp4")
        same = {(tmp_path / f"{place}.mp4").read_bytes() for place in (0, 3)}
        assert len(same) == 1, "a job that was cut off makes the same video as one that was not"
    finally:
        kill(process)
