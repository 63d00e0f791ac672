# SPDX-License-Identifier: Apache-2.0
"""A real browser without a window: Debian's Chromium, driven by selenium."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

_NEEDS = 'needs a browser: apt-get install chromium chromium-driver'


@contextmanager
def browser(size: tuple[int, int] = (1280, 900), dark: bool = False) -> Iterator[webdriver.Chrome]:
    """A Chromium that starts nothing from the network itself. Skips the test where none is installed.

    With SHUFFLENET_TEST_FULL set, the test fails instead.

    Args:
        size: (width, height) of the window in pixels.
        dark: the user prefers dark pages.
    """
    chromium, driver = shutil.which('chromium'), shutil.which('chromedriver')
    if not chromium or not driver:
        (pytest.fail if os.environ.get('SHUFFLENET_TEST_FULL') else pytest.skip)(_NEEDS)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    # Root in a container has no sandbox, and /dev/shm may be small there.
    for argument in ('--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu',
                     '--disable-background-networking', '--disable-component-update', '--no-first-run',
                     f'--window-size={size[0]},{size[1]}', *(['--force-dark-mode'] if dark else [])):
        options.add_argument(argument)
    options.set_capability('goog:loggingPrefs', {'performance': 'ALL', 'browser': 'ALL'})
    # With both paths given, selenium looks for nothing on the network.
    chrome = webdriver.Chrome(options, webdriver.ChromeService(executable_path=driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def open_page(chrome: webdriver.Chrome, page: str | Path, seconds: float = 30.0) -> None:
    """Open a file or an address, and return when the page has set `document.body.dataset.ready`."""
    chrome.get(page.resolve().as_uri() if isinstance(page, Path) else page)
    WebDriverWait(chrome, seconds, poll_frequency=0.02).until(
        lambda it: it.execute_script('return document.body && document.body.dataset.ready'))


def requested(chrome: webdriver.Chrome) -> list[str]:
    """The addresses that the browser has requested since the last call, `data:` and `blob:` left out."""
    events = [json.loads(entry['message'])['message'] for entry in chrome.get_log('performance')]
    urls = [event['params']['request']['url'] for event in events
            if event['method'] == 'Network.requestWillBeSent']
    return [url for url in urls if not url.startswith(('data:', 'blob:'))]


def complaints(chrome: webdriver.Chrome) -> list[str]:
    """What the page has written to the console as an error since the last call."""
    return [entry['message'] for entry in chrome.get_log('browser') if entry['level'] == 'SEVERE']
