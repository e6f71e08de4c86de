"""A headless Chromium for tests: the one that is installed, driven through playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""What the browser is called by Debian, Ubuntu and its maker."""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser for as long as the tests of a file take; without one, they are skipped."""
    driver = pytest.importorskip("playwright.sync_api", reason="the extra `test` installs playwright")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no chromium is installed (Debian: apt-get install chromium)")
    with driver.sync_playwright() as started:
        # A browser that runs as root, as in most containers, has no sandbox of its own.
        args = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = started.chromium.launch(executable_path=found, args=args)
        yield browser
        browser.close()


class Opened:
    """A page that was opened from a file, and what went wrong in it.

    Attributes:
        tab: The tab, to press and to read.
        wrong: Messages of the console, exceptions, dialogs and refused content.
        asked: What it fetched besides itself.
    """

    def __init__(self, browser: Any, file: Path, **options: Any):
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(10_000)  # of something that cannot be pressed, in milliseconds
        self.tab = self.context.new_page()
        self.tab.on("console", lambda message: self.wrong.append(message.text))
        self.tab.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.tab.on("dialog", self._dialog)
        self.tab.on("request", self._request)
        self.address = file.as_uri()
        self.tab.goto(self.address)

    def _dialog(self, dialog: Any) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Any) -> None:
        if request.url != self.address and not request.url.startswith("data:"):
            self.asked.append(request.url)

    def rows(self, section: int = 1) -> list[list[str]]:
        """The text of the rows that are shown, cell by cell."""
        read = "rows => rows.filter(r => r.checkVisibility()).map(r => [...r.cells].map(c => c.innerText.trim()))"
        return self.tab.eval_on_selector_all(f"#s{section} tbody tr", read)

    def column(self, name: str, section: int = 1) -> list[str]:
        """The first lines of a column's cells, by its heading."""
        heads = self.tab.eval_on_selector_all(f"#s{section} .heads th button", "all => all.map(one => one.innerText.trim())")
        number = next(place for place, head in enumerate(heads) if head.split("\n")[0].startswith(name))
        return [row[number].split("\n")[0] for row in self.rows(section)]

    def settle(self) -> None:
        """Waits until the page has been told of another medium, and has drawn what it made of it."""
        self.tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def close(self) -> None:
        """Closes the tab."""
        self.context.close()
