"""What every file of the project keeps to."""

from pathlib import Path

import flows

ROOT = Path(flows.__file__).parent.parent
FILES = sorted(
    file
    for folder in ("blocks", "tasks", "flows", "deployments", "tests", "benchmarks")
    for file in (ROOT / folder).rglob("*.py")
)


def test_no_file_is_longer_than_400_lines() -> None:
    long = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in FILES}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def test_no_module_is_called_after_nothing() -> None:
    forbidden = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
    assert [str(file) for file in FILES if forbidden & {part.removesuffix(".py") for part in file.parts}] == []


def test_every_package_is_one() -> None:
    without = {file.parent for file in FILES if not (file.parent / "__init__.py").exists()}
    # Alembic loads revisions by path, and their names begin with digits; benchmarks are scripts.
    assert {
        str(folder.relative_to(ROOT)) for folder in without if folder.name not in ("versions", "benchmarks")
    } == set()
