"""Days and times in requests: as text, as the document says. A bare number would be read as seconds since 1970."""

from datetime import date
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator
from pydantic_core import PydanticCustomError


def _only_text(value: object) -> object:
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "Input should be a valid string")
    # Digits alone are a number in quotes.
    if value.strip().lstrip("+-").replace(".", "", 1).isdigit():
        raise PydanticCustomError("date_parsing", "Input should be a valid date")
    return value


WrittenDay = Annotated[date, BeforeValidator(_only_text)]
WrittenTime = Annotated[AwareDatetime, BeforeValidator(_only_text)]
