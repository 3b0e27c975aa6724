"""The built book in a real browser that reaches no other host: served, from files, light and dark, on small screens."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import browser
import pytest
import yaml
from browser import Browser, MissingBrowser, Program

from civilwar import paths

WIDTHS = (390, 1024, 1440)
MODES = ("light", "dark")


def pages() -> list[str]:
    """Of the table of contents, and the two that Sphinx adds."""
    contents = yaml.safe_load((paths.repository() / "book" / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter["file"] for part in contents["parts"] for chapter in part["chapters"]]
    return [f"{name}.html" for name in (contents["root"], *chapters, "search", "genindex")]


each_page = pytest.mark.parametrize("page", pages())


@pytest.fixture(scope="session")
def served(html: Path) -> Iterator[str]:
    with browser.serve(html) as address:
        yield address


@pytest.fixture(params=["http", "file"])
def base(request: pytest.FixtureRequest, served: str, html: Path) -> str:
    """Where the book is read from: a server, or the reader's own disk."""
    return served if request.param == "http" else f"{html.as_uri()}/"


def test_these_are_all_pages(html: Path) -> None:
    built = {file.relative_to(html).as_posix() for file in html.rglob("*.html") if "_static" not in file.parts}
    assert built == set(pages())


class Visit(NamedTuple):
    """How a page is opened, which of axe's rules are then applied (all, or those of colour), and how wide it is made first."""

    base: str
    mode: str
    width: int
    rules: str
    judged_at: int


#: Every way of serving meets every mode, every width a fresh page, and axe all of MODES at the least and the greatest width.
#: What a rule looks at hangs on the width, which hides whole parts of the page; on the mode hangs nothing but colours, pictures
#: for one mode, and the mode's button.
VISITS = (
    Visit("http", "light", 1440, "all", 1440),
    Visit("http", "dark", 390, "all", 390),
    Visit("file", "light", 390, "colour", 390),
    Visit("file", "dark", 1024, "colour", 1440),
)


def test_the_visits_leave_nothing_out() -> None:
    outer = {min(WIDTHS), max(WIDTHS)}
    assert {(visit.base, visit.mode) for visit in VISITS} == {
        (base, mode) for base in ("http", "file") for mode in MODES
    }
    assert {visit.width for visit in VISITS} == set(WIDTHS)
    assert {(visit.mode, visit.judged_at) for visit in VISITS} == {(mode, width) for mode in MODES for width in outer}
    whole = [visit for visit in VISITS if visit.rules == "all"]
    assert {visit.mode for visit in whole} == set(MODES)
    # some of the theme's scripts look at the width only once, so these are fresh pages
    assert {visit.width for visit in whole if visit.width == visit.judged_at} == outer


@each_page
def test_a_page_is_whole_for_every_reader(chromium: Browser, served: str, html: Path, page: str) -> None:
    """It loads without a fault, asks nobody, fits the screen, and axe finds nothing serious."""
    bases = {"http": served, "file": f"{html.as_uri()}/"}
    for visit in VISITS:
        chromium.open(bases[visit.base], page, visit.width, visit.mode)
        assert chromium.faults() == [], visit
        assert chromium.ask("document.documentElement.dataset.theme") == visit.mode, visit
        # a formula that nothing set stands there as its source
        assert "\\(" not in chromium.ask("document.querySelector('main').innerText"), visit
        assert chromium.overflow() <= 0, visit
        chromium.resize(visit.judged_at)
        chromium.settle()
        assert chromium.violations(visit.rules) == [], visit


def test_a_reader_who_chose_nothing_gets_what_the_system_prefers(chromium: Browser, served: str) -> None:
    for prefers in MODES:
        chromium.open(served, "index.html", mode="auto", prefers=prefers)
        assert chromium.ask("document.documentElement.dataset.theme") == prefers


def test_formulas_are_set_and_can_be_read_aloud(chromium: Browser, base: str) -> None:
    chromium.open(base, "methods.html")
    formulas = chromium.ask("document.querySelectorAll('.math').length")
    assert formulas > 5
    assert chromium.ask("document.querySelectorAll('.math mjx-container mjx-assistive-mml').length") >= formulas
    assert chromium.ask("document.querySelectorAll('mjx-merror').length") == 0


def test_a_verdict_leads_to_the_head_that_shows_it(chromium: Browser, base: str) -> None:
    """Front page, glance, inspector: two clicks from the question to a head."""
    chromium.open(base, "index.html")
    link = chromium.ask("document.querySelector('.cw-glance a[href*=\"#layer=\"]').href")
    wanted = dict(pair.split("=") for pair in link.partition("#")[2].split("&"))
    chromium.driver.execute_script("document.querySelector('.cw-glance a[href*=\"#layer=\"]').click()")
    chromium.wait_for("document.querySelector('.cw-inspector')?.dataset.ready === 'true'")
    opening = f"Layer {wanted['layer']}, query head {wanted['head']} "
    assert chromium.ask("document.querySelector('.cwi-said').textContent").startswith(opening)
    assert chromium.ask("document.querySelector('.cwi-bar [name=metric]').value") == wanted["metric"]
    assert chromium.faults() == []


def test_search_finds_pages_offline(chromium: Browser, base: str) -> None:
    chromium.open(base, "search.html?q=entropy")
    chromium.wait_for("document.querySelector('#search-results .search-summary')?.textContent.includes('found')")
    found = chromium.ask("[...document.querySelectorAll('#search-results li a')].map(a => a.textContent)")
    assert "Phase 2 · The focus law" in found
    assert chromium.faults() == []


# the checks above can fail: each on a page made to fail it, and none on one that is as it should be

SOUND = "<main><h1>A page</h1><p>Sound.</p></main>"
FAULTY = {
    "<script>console.error('broken')</script>": "console: ",
    "<script>undefinedName()</script>": "Uncaught ReferenceError",
    "<script src='missing.js'></script>": "failed: ",
    "<img alt='' src='http://elsewhere.example/a.png'>": "asks elsewhere: http://elsewhere.example/a.png",
    "<script>fetch('http://127.0.0.1:9/').catch(() => 0)</script>": "asks elsewhere: http://127.0.0.1:9/",
    "<script>new WebSocket('ws://elsewhere.example/')</script>": "asks elsewhere: ws://elsewhere.example/",
}


def write(folder: Path, body: str) -> None:
    head = '<meta charset="utf-8"><title>A page</title><link rel="icon" href="data:,">'
    (folder / "page.html").write_text(f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>')


@pytest.fixture(params=["http", "file"])
def made_up(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of a folder for one made-up page, ``page.html``."""
    with browser.serve(tmp_path) as address:
        yield address if request.param == "http" else f"{tmp_path.as_uri()}/"


def test_a_sound_page_passes(chromium: Browser, made_up: str, tmp_path: Path) -> None:
    write(tmp_path, SOUND)
    chromium.open(made_up, "page.html", min(WIDTHS))
    assert (chromium.faults(), chromium.overflow(), chromium.violations()) == ([], 0, [])


@pytest.mark.parametrize("body", FAULTY)
def test_a_fault_is_seen(chromium: Browser, made_up: str, tmp_path: Path, body: str) -> None:
    write(tmp_path, SOUND + body)
    chromium.open(made_up, "page.html")
    chromium.wait_for("true")
    faults = chromium.faults()
    assert any(FAULTY[body] in fault for fault in faults), faults


def test_a_page_wider_than_the_screen_is_seen(chromium: Browser, made_up: str, tmp_path: Path) -> None:
    write(tmp_path, SOUND + '<p style="width: 1100px">Wide.</p>')
    chromium.open(made_up, "page.html", 1440)
    assert chromium.overflow() == 0
    chromium.open(made_up, "page.html", 1024)
    assert chromium.overflow() > 0


@pytest.mark.parametrize(
    ("rule", "body"),
    [
        ("image-alt", "<main><h1>A page</h1><img src='data:,'></main>"),
        ("color-contrast", "<main><h1>A page</h1><p style='color: #ccc'>Pale.</p></main>"),
    ],
)
def test_axe_sees_a_violation(chromium: Browser, made_up: str, tmp_path: Path, rule: str, body: str) -> None:
    write(tmp_path, body)
    chromium.open(made_up, "page.html")
    assert [found for found, _, _ in chromium.violations()] == [rule]
    of_colour = [rule] * (rule in browser.OF_COLOUR)
    chromium.open(made_up, "page.html")
    assert [found for found, _, _ in chromium.violations("colour")] == of_colour


UNDECIDED = """
const [rules, done] = arguments;
axe.run({ runOnly: rules }).then(({ violations, incomplete }) => done([violations, incomplete].map(
  found => found.flatMap(({ nodes }) => nodes.map(node => node.target[0])))));
"""


def test_axe_leaves_colours_in_pictures_undecided(chromium: Browser, tmp_path: Path) -> None:
    """Or emptying them before it judges colours would hide something."""
    pale = "<text id='pale' y='20' style='fill: #ddd; color: #ddd'>Pale</text>"
    picture = f"<svg role='img' aria-label='A picture'><rect width='99' height='99' fill='white'/>{pale}</svg>"
    write(tmp_path, f"<main><h1>A page</h1>{picture}</main>")
    chromium.open(f"{tmp_path.as_uri()}/", "page.html")
    chromium.driver.execute_script(browser.axe_script())
    assert chromium.driver.execute_async_script(UNDECIDED, browser.OF_COLOUR) == [[], ["#pale"]]


# without a browser


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole search path for programs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CI", "CIVILWAR_REQUIRE_BROWSER"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def install(folder: Path, program: str, version: str) -> str:
    (folder / program).write_text(f"#!/bin/sh\necho 'Some Browser {version}'\n")
    (folder / program).chmod(0o755)
    return str(folder / program)


def test_what_is_missing_is_named(programs: Path) -> None:
    with pytest.raises(MissingBrowser, match=r"Chromium and chromedriver not found.*apt-get install chromium"):
        browser.find()
    install(programs, "chromium", "150.0.1")
    with pytest.raises(MissingBrowser, match=r"^chromedriver not found"):
        browser.find()
    install(programs, "chromedriver", "156.0.1")
    with pytest.raises(MissingBrowser, match=r"No installed browser fits chromedriver 156"):
        browser.find()


def test_the_browser_that_fits_the_driver_is_taken(programs: Path) -> None:
    install(programs, "chromium", "150.0.1")
    fitting, driver = install(programs, "google-chrome", "156.0.2"), install(programs, "chromedriver", "156.0.1")
    assert browser.find() == browser.find_or_skip() == Program(fitting, driver)


def test_without_a_browser_tests_are_skipped_loudly_and_fail_where_one_is_required(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(pytest.skip.Exception, match=r"NOT TESTED.*apt-get install chromium chromium-driver"):
        browser.find_or_skip()
    monkeypatch.setenv("CI", "false")
    with pytest.raises(pytest.skip.Exception):
        browser.find_or_skip()
    for name in ("CI", "CIVILWAR_REQUIRE_BROWSER"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            with pytest.raises(pytest.fail.Exception, match=r"required: Chromium and chromedriver not found"):
                browser.find_or_skip()


MAKE = shutil.which("make")


def make_browser() -> subprocess.CompletedProcess[str]:
    """``make browser`` in this environment in place of the Makefile's own, which need not exist."""
    command = [str(MAKE), "--old-file=.venv/.installed", f"BIN={Path(sys.executable).parent}", "browser"]
    return subprocess.run(command, cwd=paths.repository(), capture_output=True, text=True, check=False)


def test_make_browser_says_what_is_missing_and_never_fails(programs: Path) -> None:
    done = make_browser()
    assert done.returncode == 0
    assert "The book cannot be tested in a browser: Chromium and chromedriver not found. On Debian" in done.stderr


@pytest.mark.parametrize("works", [True, False])
def test_make_browser_installs_debian_s_packages_once(programs: Path, works: bool) -> None:
    said = programs / "said"
    scripts = {
        "id": "echo 0",
        "env": 'shift; exec "$@"',
        "sh": 'exec /bin/sh "$@"',
        "apt-get": f'echo "$@" >> {said}' + ("; for p in chromium chromedriver; do /bin/cp new $p; done" * works),
    }
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\ncd {programs}\n{script}\n")
        (programs / name).chmod(0o755)
    install(programs, "new", "156.0.1")
    done = make_browser()
    assert done.returncode == 0
    assert ("cannot be tested" in done.stderr) is not works
    installing = "-qq install --yes --no-install-recommends chromium chromium-driver"
    assert said.read_text().splitlines() == ["-qq update", installing]
    if works:
        said.unlink()
        assert make_browser().stderr == ""
        assert not said.exists()
