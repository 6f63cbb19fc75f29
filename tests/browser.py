"""Headless Chromium from Debian's packages, driven with selenium; tests are skipped where one of them is missing."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil

import pytest

_BROWSER, _DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
_IS_THERE = bool(_BROWSER and _DRIVER and importlib.util.find_spec("selenium"))
needs_chromium = pytest.mark.skipif(not _IS_THERE, reason="it needs the packages chromium, chromium-driver, selenium")


@contextlib.contextmanager
def chromium(*flags: str):
    """Yield a driver with a 1200 x 1000 window and a microphone that is no device."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = _BROWSER
    for flag in (
        "--headless=new",
        "--no-sandbox",  # containers run as root
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--renderer-process-limit=1",
        "--window-size=1200,1000",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        *flags,
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, Service(_DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
