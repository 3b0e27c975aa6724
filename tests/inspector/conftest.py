"""One site for all tests of the inspector in a browser."""

from collections.abc import Iterator
from pathlib import Path

import browser
import pytest
from inspector_pages import another, made_payload, write_site

from civilwar.inspector.payload import Payload
from civilwar.inspector.widget import HeadInspector


@pytest.fixture(scope="session")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Payload:
    return made_payload(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def site(payload: Payload, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    other = another(payload)
    inspector = HeadInspector(payload, layer=1, query_head=2, step=20, others=[other])
    write_site(folder, inspector.to_html("<p id='still'>still</p>"), payload, other)
    return folder


@pytest.fixture(scope="session")
def served(site: Path) -> Iterator[str]:
    with browser.serve(site) as address:
        yield address


@pytest.fixture(params=["http", "file"])
def base(request: pytest.FixtureRequest, served: str, site: Path) -> str:
    return served if request.param == "http" else f"{site.as_uri()}/"
