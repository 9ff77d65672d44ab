"""The browser and the served site, for all tests of the pages that need one."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.book.browsing import CHROMIUM, FLAGS, PATIENCE, do_without


@pytest.fixture(scope="module")  # not for the session: while Playwright runs, no other test may start an event loop
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        do_without(os.environ.get("CI") == "true")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=PATIENCE)
        expect.set_options(timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(browser, site) -> Iterator[str]:
    """The address at which a server like that of `make serve` serves the site, at any free port."""
    command = [sys.executable, "-u", "-m", "http.server", "--directory", str(site), "--bind", "127.0.0.1", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        yield re.search(r"http://[\d.:]+", server.stdout.readline())[0]
        server.terminate()


@pytest.fixture(scope="session")
def printed(tmp_path_factory) -> Path:
    """One folder for both printed formats, so that the pages are read once."""
    return tmp_path_factory.mktemp("print")
