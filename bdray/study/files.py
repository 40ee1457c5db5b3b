"""Where studies are, and what they are about; to list them takes none of what it takes to check them."""

from pathlib import Path

import yaml

from bdray.exceptions import ConfigError

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C is ten times as fast, and not everywhere."""


def studies_folder() -> Path:
    """Where study files are: ``studies`` in the working folder, else the one beside or inside the package."""
    package = Path(__file__).parents[1]
    for folder in (Path.cwd() / "studies", package.parent / "studies", package / "_studies"):
        if folder.is_dir():
            return folder
    raise ConfigError("there is no folder named 'studies' here. Run this from the repository's root.")


def names(folder: Path) -> dict[str, Path]:
    """All studies by name."""
    found = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}
    return {name: path for name, path in found.items() if not name.startswith("base/")}


def title_and_source(path: Path) -> tuple[str, str]:
    """What a study says of itself; what it lacks is empty.

    Raises:
        ConfigError: If the file does not hold a mapping in YAML.
    """
    try:
        tree = yaml.load(path.read_bytes(), Loader)  # noqa: S506 - a safe loader, by either name
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML. {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: must hold a mapping of fields.")
    return str(tree.get("title", "")), str(tree.get("source", ""))
