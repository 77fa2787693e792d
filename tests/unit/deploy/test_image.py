"""The image can be built from what is in the repository, with the locked packages only, and runs as nobody in particular."""

import re
import shlex
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "deploy/images/Dockerfile"


def _instructions() -> list[tuple[str, str]]:
    """(instruction, arguments), continued lines joined, comments left out."""
    lines = (line for line in DOCKERFILE.read_text().splitlines() if line and not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = (line.split(maxsplit=1) for line in joined.splitlines())
    return [(instruction, arguments) for instruction, arguments in pairs]


def _arguments(instruction: str) -> list[str]:
    return [arguments for name, arguments in _instructions() if name == instruction]


def _is_ignored(path: str) -> bool:
    """Whether `.dockerignore` keeps a path out of the build context: the last pattern that fits decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!").removeprefix("**/")
            parts = Path(path).parts
            candidates = parts if "**/" in line else ["/".join(parts[: n + 1]) for n in range(len(parts))]
            if any(fnmatch(candidate, pattern) for candidate in candidates):
                ignored = not line.startswith("!")
    return ignored


def _copied() -> list[str]:
    return [source for arguments in _arguments("COPY") for source in arguments.split()[:-1]]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    assert _copied()
    for source in _copied():
        assert (ROOT / source).exists(), source
        assert not _is_ignored(source), source


@pytest.mark.parametrize(
    "path", [".git/config", ".run/compose.env", ".venv/bin/python", "tests/conftest.py", "contracts/src/x/__pycache__"]
)
def test_what_has_no_place_in_an_image_stays_out(path: str) -> None:
    assert _is_ignored(path)


def test_every_package_that_runs_in_production_is_built() -> None:
    (build,) = (run for run in _arguments("RUN") if "pip wheel" in run)
    built = {word.removeprefix("./") for word in shlex.split(build) if word.startswith("./")}
    packages = {
        str(path.parent.relative_to(ROOT))
        for folder in ("contracts", "libs/*", "services/*")
        for path in ROOT.glob(f"{folder}/pyproject.toml")
    }

    assert built == packages


def test_only_locked_packages_with_hashes_are_installed() -> None:
    fetching = [run for run in _arguments("RUN") if "pip download" in run or "-r build.txt" in run]

    assert fetching
    for run in fetching:
        assert run.count("--require-hashes") == len(re.findall(r"pip (?:download|install)", run))
    assert "index-url" not in DOCKERFILE.read_text()
    assert "://" not in "\n".join(arguments for _, arguments in _instructions())


def test_what_builds_the_wheels_is_in_the_development_lock() -> None:
    wanted = re.search(r"\^\(([a-z|-]+)\)==", DOCKERFILE.read_text())
    assert wanted is not None
    locked = (ROOT / "requirements-dev.txt").read_text()

    assert all(re.search(rf"^{name}==", locked, re.MULTILINE) for name in wanted.group(1).split("|"))


def test_nothing_for_development_is_in_the_second_stage() -> None:
    second = DOCKERFILE.read_text().rpartition("FROM ")[2]

    assert "requirements-dev" not in second
    assert "COPY" not in second
    assert "--no-index" in second


def test_it_does_not_run_as_root() -> None:
    assert _arguments("USER") == ["10001:10001"]


def test_it_is_the_python_that_the_requirements_were_locked_for() -> None:
    target = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["python_version"]

    assert {base.split()[0] for base in _arguments("FROM")} == {f"python:{target}-slim"}
