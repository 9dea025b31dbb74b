"""Schemathesis against a server's own description: every check, a bounded run. Needs `pip install schemathesis`.

python benchmarks/rest_fuzz.py [--examples 40] [--seconds 120]
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rest_fuzz_hooks import MOST_SECONDS
from rest_started import started

KEY = "a-key-for-this-run-only"
FLAGS = ("--queue", "100000", "--max-seconds", str(MOST_SECONDS))
HOOKS = Path(__file__).with_name("rest_fuzz_hooks.py")


def fuzz(address: str, examples: int, seconds: int, folder: Path) -> int:
    """Run it; the exit code of schemathesis."""
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent)) or "schemathesis"
    command = [
        program,
        "--config-file",
        str(HOOKS.with_name("rest_fuzz.toml")),
        "run",
        f"{address}/openapi.json",
        "--checks",
        "all",
        "--seed",
        "1",
    ]
    command += ["--header", f"X-API-Key: {KEY}", "--max-examples", str(examples), "--max-time", str(seconds)]
    command += ["--request-timeout", "120", "--continue-on-failure", "--no-color", "--suppress-health-check", "all"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": HOOKS.stem, "PYTHONPATH": str(HOOKS.parent)}
    return subprocess.run(command, env=environment, cwd=folder, check=False).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=40)
    parser.add_argument("--seconds", type=int, default=120)
    given = parser.parse_args()
    os.environ["ECHOMIMIC_API_KEYS"] = KEY
    with tempfile.TemporaryDirectory() as name, started(Path(name) / "data", *FLAGS) as server:
        code = fuzz(server.address, given.examples, given.seconds, Path(name))
        print(f"server alive: {server.process.poll() is None}, {server.resident_mb():.0f} MB; exit code {code}")
    sys.exit(code)


if __name__ == "__main__":
    main()
