"""Make the clips of a batch in a worker, which keeps its engine and the inputs that it has read."""

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from echomimic.apps.batch.manifest import BatchRow
from echomimic.apps.jobs.runner import EngineCache, JobRequest, preset_name, run_job
from echomimic.errors import EchoMimicError
from echomimic.inputs import InputCache
from echomimic.media import writing
from echomimic.options import make_options
from echomimic.parallel import Worker
from echomimic.presets import Preset, accelerators, file_checksums, resolve_preset
from echomimic.provenance import digest, new_record, read_record


@dataclass(frozen=True)
class RowResult:
    """What became of a row: `status` is made, known (it was there already) or failed.

    `frames` and `seconds` are the length of the clip, `took` is seconds of work.
    """

    number: int
    output: str
    status: str
    error: str = ""
    code: str = ""
    preset: str = ""
    frames: int = 0
    seconds: float = 0.0
    took: float = 0.0
    notes: tuple[str, ...] = ()


def decode_result(text: str) -> RowResult:
    """The result in the JSON that a worker returned."""
    return RowResult(**json.loads(text))


class BatchWorker(Worker):
    """Makes clips in `folder`, with checkpoints of `weights`, signed with the files `sign`.

    A clip whose output is there already, made from the same inputs and options, is not made again.
    """

    items_per_process: ClassVar[int] = 500

    def __init__(self, folder: str, weights: str | None = None, sign: tuple[str, str] | None = None) -> None:
        self._folder = Path(folder)
        self._weights = None if weights is None else Path(weights)
        self._sign = None if sign is None else (Path(sign[0]), Path(sign[1]))
        self._engines, self._inputs = EngineCache(), InputCache()

    def run(self, text: str) -> str:
        """Make the clip of a row given as JSON; return its result as JSON. Every failure is a result."""
        row, began = BatchRow(**json.loads(text)), time.monotonic()
        try:
            result = self.make(row)
        except EchoMimicError as error:
            result = RowResult(row.number, row.output, "failed", str(error), error.code)
        except Exception as error:  # of any library: one bad row must not stop the others
            why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            result = RowResult(row.number, row.output, "failed", why, EchoMimicError.code)
        return json.dumps(asdict(replace(result, took=round(time.monotonic() - began, 3))))

    def crashed(self, text: str) -> str:
        """The result of a row that has killed its process."""
        row = BatchRow(**json.loads(text))
        why = "the process that made it died, twice; expected enough memory: lower `size`, or use fewer workers"
        return json.dumps(asdict(RowResult(row.number, row.output, "failed", why, EchoMimicError.code)))

    def make(self, row: BatchRow) -> RowResult:
        """Make the clip of a row, unless it is there. Raises EchoMimicError."""
        request = self._request(row)
        preset, _ = resolve_preset(preset_name(request), weights=self._weights)
        if self._is_there(request, preset):
            return RowResult(row.number, row.output, "known", preset=preset.name)
        with writing():
            for path in (request.output, request.save_motion):
                if path is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
        options = {**self._machine_options(preset), **row.options}
        request = replace(request, preset=preset.name, options=options)
        clip = run_job(request, engines=self._engines, inputs=self._inputs)
        facts = {"preset": clip.preset, "frames": clip.frames, "seconds": clip.seconds, "notes": clip.notes}
        return RowResult(row.number, row.output, "made", **facts)  # type: ignore[arg-type]

    def _request(self, row: BatchRow) -> JobRequest:
        return JobRequest(
            self._folder / row.output,
            portrait=Path(row.portrait),
            speech=Path(row.speech),
            motion=None if row.motion is None else Path(row.motion),
            preset=row.preset,
            options=row.options,
            save_motion=None if row.save_motion is None else self._folder / row.save_motion,
            weights=self._weights,
            lora=row.lora_file,
            sign=self._sign,
        )

    def _machine_options(self, preset: Preset) -> dict[str, Any]:
        """The share of this machine that the worker uses: some threads, and one of several GPUs."""
        found = accelerators() if preset.engine == "diffusion" else []
        device = {"device": found[self.number % len(found)]} if len(found) > 1 else {}
        return {"workers": min(64, self.threads), **device}

    def _is_there(self, request: JobRequest, preset: Preset) -> bool:
        """Whether the output was made from the same inputs, options and weights."""
        paths = [path for path in (request.output, request.save_motion) if path is not None]
        if not all(path.exists() for path in paths):
            return False
        try:
            made = read_record(request.output)
        except EchoMimicError:
            return False
        inputs = {"portrait": request.portrait, "speech": request.speech, "motion": request.motion}
        wanted = new_record(
            preset.name,
            make_options(request.options, preset.defaults),
            (0, 0),
            0,
            0.0,
            weights=file_checksums(preset, request.weights, request.lora),
            **{name: None if value is None else digest(value) for name, value in inputs.items()},
        )
        return made is not None and made.key() == wanted.key()
