"""What Dagster's processes load, and with which settings: a folder's own files, its Dagster project, or what the package has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from timestore_assets.dagster_project import project_around

_PACKAGED = Path(__file__).parent / "dagster_settings"
PACKAGED_LOCATION = "timestore_assets"
"""The code location's name in the packaged `workspace.yaml`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DagsterWorkspace:
    """Nothing of it is written into the folder."""

    folder: Path
    """Where the processes are started."""
    arguments: tuple[str, ...]
    """Options of `dagster dev` and of the daemon that say what is loaded."""
    settings: Path
    """The `dagster.yaml` that becomes the instance's."""

    @property
    def is_packaged(self) -> bool:
        """Whether it is the package's own: one code location, of the declared datasets."""
        return self.arguments[1] == str(_PACKAGED / "workspace.yaml")

    @property
    def description(self) -> str:
        """For people, who want to know which files count."""
        loaded = "every declared dataset" if self.is_packaged else self.arguments[1]
        return loaded if self.settings.parent == _PACKAGED else f"{loaded}, with {self.settings}"


def packaged_workspace(folder: Path) -> DagsterWorkspace:
    """Every declared dataset, whatever lies in the folder."""
    return DagsterWorkspace(
        folder=folder, arguments=("-w", str(_PACKAGED / "workspace.yaml")), settings=_PACKAGED / "dagster.yaml"
    )


def workspace_of(folder: Path) -> DagsterWorkspace:
    """A folder's own `workspace.yaml` and `dagster.yaml`, else those of the Dagster project around it, else the packaged."""
    packaged, project = packaged_workspace(folder), project_around(folder)
    root = project.root if project is not None else folder
    settings = next((path for path in (folder / "dagster.yaml", root / "dagster.yaml") if path.is_file()), packaged.settings)
    if (folder / "workspace.yaml").is_file():
        return DagsterWorkspace(folder=folder, arguments=("-w", str(folder / "workspace.yaml")), settings=settings)
    if project is not None:
        source = root / "src" if (root / "src").is_dir() else root
        arguments = ("-m", project.definitions_module, "-d", str(source))
        return DagsterWorkspace(folder=root, arguments=arguments, settings=settings)
    return DagsterWorkspace(folder=folder, arguments=packaged.arguments, settings=settings)
