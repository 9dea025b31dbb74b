"""Settings of the server: flags of `echomimic serve`, or environment variables ECHOMIMIC_*."""

import os
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from echomimic.apps.jobs.request import WORKER_COMMAND, JobSettings
from echomimic.errors import OptionError

MB = 1_000_000
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Settings(BaseModel):
    """Settings in the units of the command line; fields without a description have no flag."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(
        default="127.0.0.1", description="address to listen on; 127.0.0.1 is reached by this machine only"
    )
    port: int = Field(default=8765, ge=0, le=65535, description="port to listen on; 0 chooses a free one")
    allow_host: tuple[str, ...] = Field(
        default=(), description="a host name by which clients call this server; may be repeated"
    )
    data: Path = Field(default=Path("echomimic-jobs"), description="folder of jobs and results")
    key_file: Path | None = Field(
        default=None, description="file with API keys, one a line, besides ECHOMIMIC_API_KEYS"
    )
    no_key: bool = Field(default=False, description="accept everybody who can reach the address")
    warm: bool = Field(default=False, description="start the workers at once, so that the first job need not wait")
    log: bool = Field(default=False, description="log each request to stderr")
    live: bool = Field(default=False, description="offer live sessions under /v1/live and /live (extra `live`)")
    live_sessions: int = Field(default=4, ge=1, le=1000, description="live sessions that may be open")
    ice_server: tuple[str, ...] = Field(
        default=(), description="STUN or TURN server of live sessions, as stun:HOST:PORT; may be repeated"
    )
    workers: int = Field(default=1, ge=1, le=64, description="jobs that are rendered at the same time")
    queue: int = Field(default=32, ge=1, le=100_000, description="jobs that may be queued; more are refused")
    max_upload: float = Field(default=200, gt=0, description="largest request in MB")
    max_pixels: float = Field(default=50, ge=0.01, description="largest portrait in million pixels")
    max_seconds: float = Field(default=600, ge=0.1, description="longest video in seconds")
    max_time: float = Field(default=3600, ge=1, description="longest computation of a job in seconds")
    max_disk: float = Field(default=20_000, gt=0, description="most disk space of all jobs and uploads in MB")
    keep: float = Field(default=24, gt=0, description="hours until a result is deleted")
    idle: float = Field(default=15, gt=0, description="minutes without a job after which engines are released")

    api_keys: tuple[str, ...] = Field(default=(), repr=False)
    streams: int = Field(default=256, ge=1)
    upload_seconds: float = Field(default=300.0, gt=0)
    stall_seconds: float = Field(default=30.0, gt=0)
    header_seconds: float = Field(default=15.0, gt=0)
    spare_disk: float = Field(default=500, ge=0)
    worker_command: tuple[str, ...] = Field(default=WORKER_COMMAND)

    @classmethod
    def from_environment(cls, **given: Any) -> "Settings":
        """The given settings; the others from environment variables such as ECHOMIMIC_PORT. Raises ValidationError."""
        names = {name: f"ECHOMIMIC_{name.upper()}" for name in cls.model_fields if name != "worker_command"}
        found = {name: os.environ[variable] for name, variable in names.items() if os.environ.get(variable)}
        return cls(**{**found, **given})

    @field_validator("api_keys", "allow_host", "ice_server", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        words = value.split(",") if isinstance(value, str) else value
        return tuple(word.strip() for word in words if str(word).strip()) if isinstance(words, (list, tuple)) else words

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The API keys of the environment and of the key file. Raises OptionError."""
        given = [*self.api_keys]
        if self.key_file is not None:
            try:
                lines = self.key_file.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError):
                raise OptionError(
                    f"{self.key_file} cannot be read; expected a text file with an API key a line"
                ) from None
            found = [line.strip() for line in lines if line.strip()]
            if not found:
                raise OptionError(f"{self.key_file} has no key in it; expected one a line")
            given += found
        for key in given:
            if len(key) < 16 or not key.isascii() or not key.isprintable() or " " in key:
                raise OptionError(
                    f"an API key has {len(key)} characters, or spaces; expected 16 or more letters and digits: "
                    "python -c 'import secrets; print(secrets.token_hex(16))'"
                )
        return tuple(given)

    @property
    def is_public(self) -> bool:
        return not (self.host == "localhost" or (_is_address(self.host) and ip_address(self.host).is_loopback))

    def check_access(self) -> None:
        """Raise OptionError for a bad key, or if other machines could use the server without one."""
        if not self.keys and self.is_public and not self.no_key:
            raise OptionError(
                f"`host` {self.host} admits other machines, and there is no API key; expected keys in "
                "ECHOMIMIC_API_KEYS, a file of them in ECHOMIMIC_KEY_FILE, or `no_key` to accept everybody"
            )

    def accepts_host(self, header: str) -> bool:
        """Whether a Host header names this server.

        A page of another site can reach this server under a name of its own (DNS rebinding), but not under an address:
        any is accepted if the server listens on all of the machine's.
        """
        try:
            name = (urlsplit(f"//{header}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if name in (*LOOPBACK, self.host.lower(), *(word.lower() for word in self.allow_host)):
            return True
        return self.host in ("0.0.0.0", "::", "") and _is_address(name)

    @property
    def jobs(self) -> JobSettings:
        return JobSettings(
            self.data,
            workers=self.workers,
            max_queued=self.queue,
            max_pixels=round(self.max_pixels * 1e6),
            max_seconds=self.max_seconds,
            max_job_seconds=self.max_time,
            max_disk=round(self.max_disk * MB),
            spare_disk=round(self.spare_disk * MB),
            keep_seconds=self.keep * 3600,
            idle_seconds=self.idle * 60,
            warm=self.warm,
            command=self.worker_command,
        )


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
