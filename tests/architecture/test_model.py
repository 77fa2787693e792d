"""The model of the move speaks of the code: its actions and states are the code's, and each guard it can lose is tried."""

import re
from pathlib import Path

from cpro_transfer.domain.transfers import TransferState

ROOT = Path(__file__).parents[2]
MODEL = (ROOT / "docs/model/move.pml").read_text()
SCRIPT = (ROOT / "scripts/model").read_text()
CODE = "\n".join(path.read_text() for path in (ROOT / "services/transfer/src").rglob("*.py"))
GUARD = (ROOT / "libs/tenant-db/src/cpro_tenant_db/migrations/versions/0001_pupils_and_records.py").read_text()
OF_THE_MODEL = {"pupil_changes", "opt_in_changes", "write", "lie_about", "derive_one", "plan_one"}
"""What schools do, what a lying join does, and the two halves of `derive`."""


def test_each_action_of_the_model_is_one_of_the_code() -> None:
    actions = set(re.findall(r"^inline (\w+)", MODEL, re.MULTILINE)) - OF_THE_MODEL

    assert len(actions) >= 15
    assert {action for action in actions if not re.search(rf"def _?{action}\(", CODE)} == set()


def test_each_part_of_the_mover_that_has_a_label_is_one_of_the_code() -> None:
    for label in ("bring_over", "bring_home", "let_go", "set_aside"):
        assert re.search(rf"^{label}:", MODEL, re.MULTILINE)
        assert f"def _{label}(" in CODE


def test_each_statement_that_the_model_names_is_in_the_code() -> None:
    statements = set(re.findall(r"/\* (_?[A-Z]+_?[A-Z_]*) \*/", MODEL))

    assert len(statements) >= 4
    assert {name for name in statements if f"\n{name} = " not in CODE} == set()
    assert "FUNCTION refuse_writes_in_transfer" in GUARD
    assert "FUNCTION forget_moved_records" in GUARD


def test_the_states_are_those_of_a_transfer() -> None:
    (names,) = re.findall(r"mtype = \{ (.+) \}", MODEL)

    assert set(names.split(", ")) - {"NONE"} == {state.name for state in TransferState} - {"UNDONE"}


def test_each_guard_that_the_model_can_lose_is_tried() -> None:
    in_the_model = set(re.findall(r"\bNO_[A-Z]\w+", MODEL)) & set(re.findall(r"(?:ifn?def|defined\() ?(NO_\w+)", MODEL))

    assert in_the_model == set(re.findall(r"\bNO_[A-Z]\w+", SCRIPT))
