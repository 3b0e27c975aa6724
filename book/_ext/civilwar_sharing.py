"""What a page says of itself to those who share it, and links into its repository.

Every page gets a description, its opening sentence, and a picture, in the words of the Open Graph protocol. Once
``repository: url`` stands in ``_config.yml``, pages link to their source and notebooks to Binder, and directive ``{launch}``
lists where the book can be run without installing it; before, no link leads nowhere. Addresses in previews are absolute where
``html_baseurl`` is set.
"""

import html
import re
from urllib.parse import quote

from bs4 import BeautifulSoup
from docutils import nodes
from docutils.nodes import Node
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

COVER = "_static/cover.png"
LONGEST = 200
BINDER, COLAB = "https://mybinder.org", "https://colab.research.google.com"
#: A notebook that installs the package before it opens a run, for machines that have nothing.
ELSEWHERE = "notebooks/elsewhere.ipynb"


def description(body: str) -> str:
    """The first paragraph of a page's HTML as text, cut at a word."""
    for paragraph in BeautifulSoup(body, "html.parser").select("section > p, .cell_output p"):
        text = " ".join(paragraph.get_text().split())
        if len(text) > 30:
            return text if len(text) <= LONGEST else f"{text[:LONGEST].rsplit(' ', 1)[0]} …"
    return ""


def tags(title: str, said: str, address: str, cover: str) -> str:
    """Elements for the page's head."""
    properties = {"og:type": "article", "og:title": title, "og:description": said, "og:image": cover, "og:url": address}
    found = [f'<meta name="description" content="{html.escape(said)}">'] if said else []
    found += [f'<meta property="{name}" content="{html.escape(text)}">' for name, text in properties.items() if text]
    return "\n".join([*found, '<meta name="twitter:card" content="summary_large_image">'])


def _head(app: Sphinx, pagename: str, templatename: str, context: dict[str, object], doctree: object) -> None:
    if doctree is None:
        return
    base = (app.config.html_baseurl or "").rstrip("/")
    up = "../" * pagename.count("/")
    cover = f"{base}/{COVER}" if base else f"{up}{COVER}"
    address = f"{base}/{pagename}.html" if base else ""
    title = re.sub(r"<[^>]+>", "", str(context.get("title", "")))
    said = description(str(context.get("body", "")))
    context["metatags"] = f"{context.get('metatags', '')}\n{tags(html.unescape(title), said, address, cover)}"


def repository(config: Config) -> str:
    """Address of the repository, empty where none is configured."""
    return str(config.html_theme_options.get("repository_url") or "").rstrip("/")


def places(url: str, branch: str) -> dict[str, str]:
    """Where the notebooks of a public repository can be run: label -> address."""
    path = "/".join(url.split("/")[-2:])
    return {
        "Binder, with JupyterLab": f"{BINDER}/v2/gh/{path}/{quote(branch)}?urlpath=lab/tree/notebooks",
        "Colab, which installs the package first": f"{COLAB}/github/{path}/blob/{quote(branch)}/{ELSEWHERE}",
    }


def _configure(app: Sphinx, config: Config) -> None:
    if repository(config):
        options = config.html_theme_options
        options.setdefault("use_repository_button", True)
        options.setdefault("path_to_docs", "book")
        options.setdefault("launch_buttons", {"binderhub_url": BINDER, "notebook_interface": "jupyterlab"})


class LaunchDirective(SphinxDirective):
    """``{launch}``: links to where the book can be run, or why there are none."""

    has_content = False

    def run(self) -> list[Node]:
        url = repository(self.config)
        if not url:
            said = "This copy of the book does not know its repository, so there is no link to Binder or Colab. "
            said += "Whoever publishes it sets the address in _config.yml."
            return [nodes.paragraph("", said)]
        branch = str(self.config.html_theme_options.get("repository_branch") or "main")
        items = [
            nodes.list_item("", nodes.paragraph("", "", nodes.reference("", label, refuri=address)))
            for label, address in places(url, branch).items()
        ]
        return [nodes.bullet_list("", *items)]


def setup(app: Sphinx) -> ExtensionMetadata:
    # before the theme reads its options
    app.connect("config-inited", _configure, priority=100)
    app.connect("html-page-context", _head)
    app.add_directive("launch", LaunchDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
