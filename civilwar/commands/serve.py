"""``civilwar serve``: the book that was built last, in a browser."""

import argparse
import sys
import threading
import time
import webbrowser
from pathlib import Path

from civilwar import paths
from civilwar.commands import options
from civilwar.commands.speaking import say
from civilwar.errors import RunError
from civilwar.pages.made import LAST_WRITTEN, Book, books
from civilwar.pages.serving import address, bind

EPILOG = """A published book whose pages are older than their sources is built anew first. Of a book of your own run it is said,
since making that anew takes minutes."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare it."""
    parser = options.command(
        commands, "serve", "open the book that was built last in a browser, and say which it is", EPILOG
    )
    parser.add_argument("folder", nargs="?", type=Path, help="with another book: what holds its _build/")
    parser.add_argument("--port", type=int, default=8000, help="or the next free one (default: 8000)")
    parser.add_argument("--no-open", action="store_true", help="only say the address")
    parser.add_argument("--as-built", action="store_true", help="build nothing anew")
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> None:
    """Find it, build it where that is due, and serve it until Ctrl-C."""
    book = _chosen(chosen.folder)
    if book is None or (book.stale and book.published and not chosen.as_built):
        print(
            "The published book is not built yet." if book is None else "The published book has changed: building it.",
            flush=True,
        )
        from civilwar.pages.publish import build_book

        build_book(paths.repository() / "book", quiet=True)
        book = Book(paths.repository())
    elif book.stale:
        anew = "make html" if book.published else "civilwar reproduce"
        say(f"{book.pages} is older than what it is made of: `{anew}` makes it anew.")
    with bind(book.pages, chosen.port) as server:
        which = "The published book" if book.published else f"The book in {book.folder}"
        built = time.strftime("%Y-%m-%d %H:%M", time.localtime(book.built))
        print(f"{which}, built {built}, is at {address(server)} until you press Ctrl-C.", flush=True)
        if not chosen.no_open and sys.stdout.isatty():
            # beside the server: some browsers keep whoever opens them waiting
            threading.Thread(target=webbrowser.open, args=(address(server),), daemon=True).start()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped.")


def _chosen(folder: Path | None) -> Book | None:
    """The book to serve; None where it is the published one, which is not built. Raises RunError where there is none."""
    if folder is not None:
        if not (folder / "_build" / LAST_WRITTEN).is_file():
            raise RunError(f"{folder} has no built book: expected {folder / '_build' / LAST_WRITTEN}.")
        return Book(folder.resolve())
    found = books()
    if not found and paths.checkout() is None:
        raise RunError(f"there is no book below {paths.repository()} yet: `civilwar reproduce` makes one.")
    return found[0] if found else None
