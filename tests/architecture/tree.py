"""The files of the repository, as the checks see them."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("messenger", "channels", "calls", "verification", "loadgen")


def files(*suffixes: str, under: tuple[str, ...] = ()) -> list[Path]:
    """Files that belong to the repository: tracked, or new and not ignored."""
    listed = subprocess.run(  # noqa: S603 - the arguments are ours
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *under],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    if listed.returncode == 0:
        found = [ROOT / line for line in listed.stdout.splitlines()]
    else:  # an unpacked archive has no history
        folders = [ROOT / folder for folder in under or (*PACKAGES, "tests", "docs")]
        found = [path for folder in folders for path in sorted(folder.rglob("*"))]
    return [path for path in found if path.is_file() and path.name.endswith(suffixes or ("",))]


def name(path: Path) -> str:
    """A path as a person would name it."""
    return str(path.relative_to(ROOT))
