"""A real browser for the book's tests: headless Chromium that reaches this machine only and reports what went wrong.

Run as a program it tells which browser that is, or why there is none; `make browser` asks it.

``Browser.open`` loads a page and waits until it is drawn. ``Browser.faults`` then tells what the console, the network and
the layout have to complain of, ``Browser.violations`` what axe has.
"""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

DRIVER = "chromedriver"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL = "On Debian, as root: apt-get install chromium chromium-driver."

FLAGS = (
    "--headless",
    # root has no sandbox, and nothing but our own pages is ever opened
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    # a container's shared memory is too small
    "--disable-dev-shm-usage",
    # what the browser would ask of the network for itself
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    # no other host has an address, so a page that needs one fails here as it does on a reader's train
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)

#: Resolves once scripts have run, formulas and fonts are there, and a frame has been painted with them.
SETTLED = """
const done = arguments[0];
const loaded = document.readyState === "complete" ? Promise.resolve() : new Promise(r => addEventListener("load", r));
loaded.then(() => window.MathJax?.startup?.promise)
  .then(() => document.fonts.ready)
  .then(() => requestAnimationFrame(() => requestAnimationFrame(() => done(null))), error => done(String(error)));
"""

#: A slider speaks while it moves, a list once its entry is chosen.
CHOOSE = """
const [name, value] = arguments;
const control = document.querySelector(`.cwi :is(.cwi-bar, .cwi-compare, .cwi-panel) [name=${name}]`);
control.value = value;
control.dispatchEvent(new Event(control.type === "range" ? "input" : "change", {bubbles: true}));
"""

#: Only these are serious; the rest ("minor", "moderate") is advice, and the rules that only give advice are not applied.
SERIOUS = ("serious", "critical")
#: The rules that look at colours. They leave whatever is drawn in a picture undecided and take long over it, so they are
#: applied last, to a page whose pictures are empty.
OF_COLOUR = ("color-contrast", "link-in-text-block")
AXE = """
const [serious, ofColour, all, done] = arguments;
async function violations(wanted) {
  const rules = Object.fromEntries(axe._audit.rules.filter(rule => !wanted(rule)).map(({ id }) => [id, { enabled: false }]));
  return (await axe.run(document, { resultTypes: ["violations"], rules })).violations;
}
async function found() {
  // where a rule has an impact of its own, it is that of all it finds
  const isSerious = ({ impact }) => !impact || serious.includes(impact);
  const isOfColour = ({ id }) => ofColour.includes(id);
  const other = all ? await violations(rule => isSerious(rule) && !isOfColour(rule)) : [];
  for (const picture of document.querySelectorAll("svg")) picture.replaceChildren();
  return [...other, ...await violations(isOfColour)];
}
found().then(violations => done({ violations }), error => done({ error: String(error) }));
"""


class Program(NamedTuple):
    """A browser and the driver that fits it."""

    browser: str
    driver: str


class MissingBrowser(Exception):
    """Why there is no browser to test in, and what to install."""


def find() -> Program:
    """The first installed Chromium or Chrome that the installed driver can drive. Raises MissingBrowser."""
    driver = shutil.which(DRIVER)
    browsers = [path for path in map(shutil.which, PROGRAMS) if path]
    if driver is None or not browsers:
        lacking = " and ".join([*([] if browsers else ["Chromium"]), *([] if driver else ["chromedriver"])])
        raise MissingBrowser(f"{lacking} not found. {INSTALL}")
    wanted = major_version(driver)
    for browser in browsers:
        if major_version(browser) == wanted:
            return Program(browser, driver)
    raise MissingBrowser(f"No installed browser fits {DRIVER} {wanted}: {', '.join(browsers)}. {INSTALL}")


def major_version(program: str) -> str:
    """The first number that ``program --version`` prints; empty where it prints none or does not start."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    number = re.search(r"\d+", said)
    return number.group() if number else ""


def required() -> bool:
    """Whether a missing browser is a failure: on CI, and where CIVILWAR_REQUIRE_BROWSER asks for it."""
    return any(
        os.environ.get(name, "").lower() not in ("", "0", "false") for name in ("CI", "CIVILWAR_REQUIRE_BROWSER")
    )


def find_or_skip() -> Program:
    """The programs, or the end of the test: skipped with the reason, failed where a browser is required."""
    try:
        return find()
    except MissingBrowser as missing:
        if required():
            pytest.fail(f"NO BROWSER, and here one is required: {missing}", pytrace=False)
        pytest.skip(f"NO BROWSER, THE BOOK WAS NOT TESTED IN ONE: {missing}")


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serves a folder on a free port of this machine while the block runs; gives the address, with a slash at its end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Requests are looked at in the browser."""


class Browser:
    """One window, used for one page after the other."""

    def __init__(self, program: Program, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = program.browser
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        with pytest.MonkeyPatch.context() as patch:
            # the driver is on this machine, whatever proxy the machine asks others through
            patch.setenv("no_proxy", "*")
            # named outright, or selenium would look for a driver to download
            self.driver = webdriver.Chrome(options=options, service=Service(executable_path=program.driver))
        self.driver.set_script_timeout(60)
        self.driver.set_page_load_timeout(60)
        self._base = ""
        self._start_script: str | None = None

    def close(self) -> None:
        self.driver.quit()

    def open(self, base: str, page: str, width: int = 1440, mode: str = "light", prefers: str = "light") -> None:
        """Load ``base + page``, wait until it is drawn, forget what happened before.

        Args:
            base: everything the page asks for must lie below this address.
            page: file name, with a query if need be.
            width: of the window, in CSS pixels.
            mode: what the reader chose with the theme's button: light, dark or auto.
            prefers: the colour scheme of the reader's system.
        """
        self.resize(width)
        emulated = {"features": [{"name": "prefers-color-scheme", "value": prefers}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
        self._choose(mode, mode if mode != "auto" else prefers)
        # an empty page first, so that nothing of the last one is still under way
        self.driver.get("about:blank")
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self._base = base
        self.driver.get(base + page)
        self.settle()

    def settle(self) -> None:
        error = self.driver.execute_async_script(SETTLED)
        assert error is None, error

    def resize(self, width: int) -> None:
        """Set the width of the page: a headless window itself has a least width, and it is more than a phone's."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.driver.execute_script(f"return {expression}")

    def wait_for(self, expression: str, seconds: float = 30) -> None:
        """Until a JavaScript expression is true. Raises selenium's TimeoutException where it stays false."""
        WebDriverWait(self.driver, seconds, 0.05).until(lambda _: self.ask(expression), message=expression)

    def choose(self, name: str, value: Any) -> None:
        """Set a control of the page's inspector as a reader would, and let it say so."""
        self.driver.execute_script(CHOOSE, name, value)

    def faults(self) -> list[str]:
        """Console errors, failed requests and requests that leave ``base``, since the page was opened."""
        found = [
            f"console: {entry['message']}" for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"
        ]
        asked: dict[str, str] = {}
        for entry in self.driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            method, given = event["method"], event["params"]
            if method == "Network.requestWillBeSent":
                url = asked[given["requestId"]] = given["request"]["url"]
                if not url.startswith((self._base, "data:", "blob:", "about:", "chrome:")):
                    found.append(f"asks elsewhere: {url}")
            elif method == "Network.webSocketCreated":
                found.append(f"asks elsewhere: {given['url']}")
            elif method == "Network.loadingFailed":
                found.append(f"failed: {asked.get(given['requestId'], '?')} ({given['errorText']})")
            elif method == "Network.responseReceived" and given["response"]["status"] >= 400:
                found.append(f"failed: {given['response']['url']} ({given['response']['status']})")
        return found

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(self.ask("document.documentElement.scrollWidth - innerWidth"))

    def violations(self, rules: str = "all") -> list[tuple[str, str, str]]:
        """Serious faults that axe finds on the page: rule, selector and HTML of each element. Empties its pictures.

        ``rules`` is "all", or "colour" for those that look at colours.
        """
        self.driver.execute_script(axe_script())
        result = self.driver.execute_async_script(AXE, SERIOUS, OF_COLOUR, {"all": True, "colour": False}[rules])
        assert "error" not in result, result["error"]
        return [
            (violation["id"], " ".join(map(str, node["target"])), node["html"])
            for violation in result["violations"]
            if violation["impact"] in SERIOUS
            for node in violation["nodes"]
        ]

    def _choose(self, mode: str, theme: str) -> None:
        """Store the choice before the page's own scripts look for it."""
        if self._start_script is not None:
            old = {"identifier": self._start_script}
            self.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", old)
        store = f"localStorage.setItem('mode', '{mode}'); localStorage.setItem('theme', '{theme}')"
        # the empty page between two others has no storage
        script = {"source": f"if (location.protocol !== 'about:') {{ {store} }}"}
        added = self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
        self._start_script = added["identifier"]


@functools.cache
def axe_script() -> str:
    """The source of axe-core. The package drives Playwright with it; only the script is used here."""
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


if __name__ == "__main__":
    try:
        print(*find())
    except MissingBrowser as missing:
        sys.exit(f"The book cannot be tested in a browser: {missing}")
