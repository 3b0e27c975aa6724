"""What pyproject.toml cannot say: a wheel carries the notebooks and the book's sources, so that it works alone.

They lie beside the package in a checkout, where readers look for them, and inside it in a wheel: see `civilwar.paths`.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
#: What is carried: patterns from the top of the checkout. Neither executed notebooks nor recorded runs, which are large.
CARRIED = ("notebooks/*.ipynb", "book/*.*", "book/_static/*", "book/_ext/*.py", "data/benchmarks/*", "_config.yml")


class CarryingBuild(build_py):
    """Building the package, then copying beside it what a wheel carries; an editable install has the checkout itself."""

    def run(self) -> None:
        """Build, and copy."""
        super().run()
        if not self.editable_mode:
            for source, target in self._carried():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """What a build makes, for whoever packs it."""
        carried = [] if self.editable_mode else [str(target) for _, target in self._carried()]
        return [*super().get_outputs(include_bytecode), *carried]

    def get_source_files(self) -> list[str]:
        """What a source distribution needs in order to build a wheel."""
        return [*super().get_source_files(), *(source.relative_to(ROOT).as_posix() for source, _ in self._carried())]

    def _carried(self) -> list[tuple[Path, Path]]:
        target = Path(self.build_lib) / "civilwar" / "carried"
        files = [file for pattern in CARRIED for file in sorted(ROOT.glob(pattern)) if file.is_file()]
        return [(file, target / file.relative_to(ROOT)) for file in files]


setup(cmdclass={"build_py": CarryingBuild})
