"""What makes the demo fail."""

from typing import Any

from cpro_embedded.errors import EmbeddedError


class DemoFailedError(EmbeddedError):
    """Something is not as it must be. The message is the `<why>` of the last line."""


class RefusedError(DemoFailedError):
    """The API refused (409). Fails the demo unless the story is about that refusal."""

    def __init__(self, problem: dict[str, Any]) -> None:
        self.code: str = problem["code"]
        super().__init__(f"{problem['title']}. {problem['detail']}")
