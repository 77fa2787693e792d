"""The documentation is true where a test can tell: links resolve, what it names exists, every reason has its line."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpro_contracts.transfers import Reason

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs/explanation/architecture.md"
REASONS = ROOT / "docs/runbook/reasons.md"
DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))
PAGES = sorted(
    {
        *(ROOT / "docs").rglob("*.md"),
        *ROOT.glob("*.md"),
        *ROOT.glob("*/README.md"),
        *ROOT.glob("libs/*/README.md"),
        *ROOT.glob("services/*/README.md"),
    }
)
_SOURCES = ("contracts/src", "libs/*/src", "services/*/src", "deploy/embedded/src")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"(?:contracts|libs|services|deploy|tests|scripts|docs)/[\w./-]+")
_NAME = re.compile(r"_?[A-Za-z]\w*(?:\.\w+)?")
_ONLY_IN_CODE = re.compile(r"_|[a-z][A-Z]|\.")


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text())


def _anchors(page: Path) -> set[str]:
    """As the usual renderers make them from headings."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _names_of_code() -> Iterator[str]:
    """What the production code calls things: functions, classes, methods as `Class.method`, constants, attributes."""
    for pattern in _SOURCES:
        for path in (file for folder in ROOT.glob(pattern) for file in folder.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.ClassDef():
                        yield node.name
                        for part in node.body:
                            if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
                                yield f"{node.name}.{part.name}"
                    case ast.FunctionDef() | ast.AsyncFunctionDef():
                        yield node.name
                    case ast.Name():
                        yield node.id
                    case ast.Attribute():
                        yield node.attr
                    case ast.arg() | ast.keyword() if node.arg:
                        yield node.arg
                    case ast.Constant() if isinstance(node.value, str):
                        yield from re.findall(r"\w+(?:\.\w+)*", node.value)


def _table(page: Path) -> list[list[str]]:
    rows = [line for line in page.read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(_prose(page)):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        aimed_at = (page.parent / target).resolve() if target else page
        assert aimed_at.exists(), link
        if anchor:
            assert anchor in _anchors(aimed_at), link


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_every_path_that_is_named_exists(page: Path) -> None:
    for code in _CODE.findall(_prose(page)):
        if _PATH.fullmatch(code):
            assert (ROOT / code).exists() or (page.parent / code).exists(), code


def test_the_tour_names_code_that_exists() -> None:
    known = set(_names_of_code())
    said = {
        code for code in _CODE.findall(_prose(ARCHITECTURE)) if _NAME.fullmatch(code) and _ONLY_IN_CODE.search(code)
    }
    files = {path.name for pattern in _SOURCES for folder in ROOT.glob(pattern) for path in folder.rglob("*.py")}
    projects = {"pyproject.toml"}

    assert len(said) > 50
    assert said - known - files - projects == set()


def test_the_tour_names_each_function_in_the_file_it_is_in() -> None:
    """Where the text says `function` in `path.py`, or `path.py`, `function`: that file has it."""
    text = " ".join(_prose(ARCHITECTURE).split())
    pairs = re.findall(r"`([\w.]+)` (?:in|\() ?`([\w./-]+\.py)`", text)
    pairs += [(name, path) for path, name in re.findall(r"`([\w./-]+/[\w-]+\.py)`, `([\w.]+)`", text)]

    assert len(pairs) > 20
    for name, path in pairs:
        file = ROOT / path
        if file.exists():
            assert re.search(rf"\b{re.escape(name.rpartition('.')[2])}\b", file.read_text()), f"{name} in {path}"


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_line_in_the_runbook(reason: Reason) -> None:
    lines = [row for row in _table(REASONS) if row[0] == f"`{reason}`"]

    assert len(lines) == 1
    assert len(lines[0]) == 4
    assert all(lines[0])


def test_the_runbook_knows_no_other_reason() -> None:
    assert {row[0].strip("`") for row in _table(REASONS)} == {str(reason) for reason in Reason}


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    for page in PAGES:
        blocks = "\n".join(_FENCE.findall(page.read_text()))
        named = re.findall(r"^make ([a-z-]+)", blocks, re.MULTILINE)
        named += re.findall(r"`make ([a-z-]+)`", _prose(page))
        assert set(named) <= targets, page


def test_the_readme_begins_with_the_two_commands_and_has_a_picture() -> None:
    text = README.read_text()
    blocks = _FENCE.findall(text)

    assert re.findall(r"^make (\w+)", blocks[0], re.MULTILINE) == ["demo", "test"]
    assert any(block.startswith("```mermaid") for block in blocks)
    assert "```mermaid" in ARCHITECTURE.read_text()


def test_the_readme_names_the_packages_that_set_up_installs() -> None:
    setup = (ROOT / "scripts/setup").read_text()

    for package in ("python3", "python3-venv", "make", "openjdk-17-jre-headless", "maven"):
        assert package in README.read_text()
        assert package in setup


def test_the_readme_names_every_command_of_every_service() -> None:
    for cli in sorted(ROOT.glob("services/*/src/*/entrypoints/cli.py")):
        functions = [node for node in ast.parse(cli.read_text()).body if isinstance(node, ast.FunctionDef)]
        commands = {function.name for function in functions if function.decorator_list}
        (line,) = re.findall(rf"^cpro-{cli.parents[3].name} (.+)$", README.read_text(), re.MULTILINE)
        assert {word.strip() for word in line.split("|")} == commands


@pytest.mark.parametrize("decision", DECISIONS, ids=_named)
def test_every_decision_can_be_quoted_and_is_checked(decision: Path) -> None:
    text = decision.read_text()
    parts = re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE)

    assert text.startswith(f"# {decision.name[:4]} ")
    assert parts == ["Context", "Consequences", "Alternatives", "Check"]
    assert len(re.findall(r"^> ", text, re.MULTILINE)) >= 1
    assert text.index("**Context.**") < text.index("\n> ") < text.index("**Consequences.**")
    assert len(text.splitlines()) <= 60


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
