"""Errors named by what the one who catches them does: try again, set the message aside, or tell the user."""

from cpro_contracts.problems import ProblemCode


class RetryableError(Exception):
    """Something that this process depends on is away or busy. Wait and try again: nothing is wrong with the input."""


class PoisonMessageError(Exception):
    """This message can never be handled. It goes to the dead letters with this text, which names no person."""


class RefusedError(Exception):
    """The caller asked for something that can't be done, and is told why.

    `detail_fr` and `detail_en` say what was found and what was expected; `extensions` become members of the problem.
    """

    def __init__(self, problem: ProblemCode, detail_fr: str = "", detail_en: str = "", **extensions: object) -> None:
        super().__init__(problem.code)
        self.problem = problem
        self.detail_fr = detail_fr
        self.detail_en = detail_en or detail_fr
        self.extensions = extensions
