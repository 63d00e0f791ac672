# SPDX-License-Identifier: Apache-2.0
"""Fetches in separate processes, which tests can starve and kill."""

from __future__ import annotations

import multiprocessing
import resource
from multiprocessing.process import BaseProcess
from pathlib import Path

from shufflenet_ros.bundles.catalog import Download
from shufflenet_ros.bundles.fetch import fetch
from shufflenet_ros.core.errors import ShuffleNetError


def attempt(download: Download, cache: Path, outcome: Path | None = None, file_bytes: int = 0) -> None:
    """Fetch in this process and write how it ended; file_bytes is the size at which its disk is full."""
    if file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    try:
        text = 'fresh' if fetch(download, cache, stall_s=10, total_s=60).fresh else 'there'
    except ShuffleNetError as error:
        text = str(error)
    if outcome:
        outcome.write_text(text)


def start(*arguments: object, **options: object) -> BaseProcess:
    """`attempt` in a new process, forked from one that has everything loaded."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['shufflenet_ros.bundles.fetch'])
    process = context.Process(target=attempt, args=arguments, kwargs=options, daemon=True)
    process.start()
    return process
