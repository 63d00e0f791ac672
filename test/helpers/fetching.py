"""Fetches in processes of their own, which tests can starve and kill."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import resource
from multiprocessing.process import BaseProcess
from pathlib import Path

from shufflenet_ros.bundles.catalog import Download
from shufflenet_ros.bundles.errors import ModelError
from shufflenet_ros.bundles.https import Limits
from shufflenet_ros.cli.models_fetch import fetch, folder_of
from shufflenet_ros.core.files import WriteError

PATIENT = Limits(stall_s=10.0, total_s=60.0)


def attempt(download: Download, cache: Path, told: Path | None = None, file_bytes: int = 0) -> None:
    """Fetch in this process and write how it ended; file_bytes is the size at which its disk is full."""
    if file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    try:
        text = 'fresh' if fetch(download, cache, PATIENT).fresh else 'there'
    except (ModelError, WriteError) as error:
        text = str(error)
    if told:
        told.write_text(text)


def start(*arguments: object, **options: object) -> BaseProcess:
    """`attempt` in a new process, forked from one that has everything loaded."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['shufflenet_ros.cli.models_fetch'])
    process = context.Process(target=attempt, args=arguments, kwargs=options, daemon=True)
    process.start()
    return process


def absent_or_valid(download: Download, cache: Path, data: bytes) -> bool:
    """Whether the cache has the file in full, or not; anything else fails. The index never lies."""
    folder = folder_of(download, cache)
    path, index = folder / download.file, folder / 'index.json'
    sha256 = hashlib.sha256(data).hexdigest()
    if index.exists():
        entry = json.loads(index.read_text())['models'][download.name]
        assert (entry['sha256'], entry['size']) == (sha256, len(data))
    assert not path.exists() or path.read_bytes() == data
    return path.exists()
