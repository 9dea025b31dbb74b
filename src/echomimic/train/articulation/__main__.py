"""`python -m echomimic.train.articulation`: rebuild the shipped weights and their model card, or the demo voice."""

import argparse
import logging
import sys
from pathlib import Path

from echomimic.data import data_path
from echomimic.errors import EchoMimicError


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        _run(given)
    except EchoMimicError as error:
        logging.error("%s", error)
        return error.exit_code
    return 0


def _run(given: argparse.Namespace) -> None:
    """Run the chosen task; torch and the synthesizers are imported only if they are needed."""
    import torch

    from echomimic.train.articulation.build import build
    from echomimic.train.articulation.synthesis import write_demo_voice
    from echomimic.train.articulation.training import TrainingConfig

    torch.set_num_threads(given.threads)
    if given.demo_voice:
        write_demo_voice(given.out / "demo_voice.flac")
        return
    settings = TrainingConfig(width=given.width, steps=tuple(given.steps), seed=given.seed, start=given.start)
    build(given.out, settings, given.copies, given.share)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m echomimic.train.articulation", description=__doc__)
    parser.add_argument("--out", type=Path, default=data_path("."), help="folder for the weights and the card")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same sentences, same start")
    parser.add_argument("--steps", type=int, nargs="+", default=[3500, 2000], help="steps of each training cycle")
    parser.add_argument("--start", type=Path, help="weight file to start from; default: random weights")
    parser.add_argument("--width", type=int, default=128, help="channels of the network")
    parser.add_argument("--copies", type=int, default=2, help="degraded copies of each utterance")
    parser.add_argument("--share", type=float, default=1.0, help="fraction of the usual sentences, for a quick trial")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--demo-voice", action="store_true", help="make only the demo voice again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
