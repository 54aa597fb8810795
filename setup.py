"""What pyproject.toml cannot express: a wheel carries files that lie beside the package in the repository.

They are copied to ``selectmm/shipped/``, under the same relative paths; `selectmm.paths` looks for them there.
"""

from collections.abc import Iterator
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = (
    "configs/**/*.yaml",
    "experiments/**/*.yaml",
    "results/published/*.csv",
    "results/references/*.json",
)


class BuildWithShippedFiles(build_py):
    """Builds the package with the shipped files inside; an editable install reads them where they are."""

    def run(self) -> None:
        """Build as usual, then copy."""
        super().run()
        for source, target in [] if self.editable_mode else self._shipped():
            target.parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(str(source), str(target))

    def get_source_files(self) -> list[str]:
        """What a source distribution has to contain."""
        return [*super().get_source_files(), *(str(source) for source, _ in self._shipped())]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """What a build writes."""
        built = [] if self.editable_mode else [str(target) for _, target in self._shipped()]
        return [*super().get_outputs(include_bytecode), *built]

    def _shipped(self) -> Iterator[tuple[Path, Path]]:
        for pattern in SHIPPED:
            for source in sorted(Path().glob(pattern)):
                yield source, Path(self.build_lib) / "selectmm" / "shipped" / source


setup(cmdclass={"build_py": BuildWithShippedFiles})
