"""How the bytes are written and what the XML header says of them."""

import unicodedata
from collections.abc import Callable
from dataclasses import replace

from cpro_test_support.siecle_samples.files import SampleFile
from cpro_test_support.siecle_samples.pupils import SamplePupil
from cpro_test_support.siecle_samples.variations.deforming import on_bytes, sets
from cpro_test_support.siecle_samples.variations.expected import Roster, Variation, of_file, of_pupil, refused


def _in(encoding: str, declared: str | None = "", *, mark: bool = False) -> dict[str, object]:
    return {"encoding": encoding, "declared_encoding": declared, "byte_order_mark": mark}


def _latin_1(pupil: SamplePupil) -> SamplePupil:
    """Without the letters that ISO-8859-1 lacks, as a school of that time wrote them."""
    return replace(pupil, family_name=pupil.family_name.replace("Œ", "OE").replace("œ", "oe"))


def _in_latin_1(file: SampleFile, at: int) -> None:
    file.edits_of_all.append(_latin_1)
    sets(**_in("ISO-8859-1"))(file, at)


def _all_latin_1(pupils: Roster, _: int) -> Roster:
    return {position: _latin_1(pupil) for position, pupil in pupils.items()}


def _with_letters(encoding: str, declared: str | None, *, mark: bool = False) -> Callable[[SampleFile, int], None]:
    """Letters that the two encodings write differently."""

    def apply(file: SampleFile, at: int) -> None:
        file.pupil_edits[at].append(lambda pupil: replace(pupil, family_name="BŒUF-LÉGER", first_name="Zoé"))
        sets(**_in(encoding, declared, mark=mark))(file, at)

    return apply


def _decomposed(file: SampleFile, at: int) -> None:
    sets(**_in("UTF-8"))(file, at)
    # Where a later variation asks for an encoding without such characters, there are none.
    file.text_edits.append(lambda text: unicodedata.normalize("NFD", text) if file.encoding == "UTF-8" else text)


ENCODINGS: tuple[Variation, ...] = (
    of_file("iso-8859-15", "as the ministry's application writes", sets(**_in("ISO-8859-15"))),
    of_file("iso-8859-15-lower-case", "the encoding's name in lower case", sets(**_in("iso-8859-15", "iso-8859-15"))),
    of_file("iso-8859-1", "as before 2000", _in_latin_1, present=_all_latin_1),
    of_file("utf-8", "UTF-8, declared", sets(**_in("UTF-8"))),
    of_file("utf-8-with-mark", "UTF-8 with a byte order mark", sets(**_in("UTF-8", mark=True))),
    of_file("utf-8-with-mark-undeclared", "UTF-8, said by its mark alone", sets(**_in("UTF-8", None, mark=True))),
    of_file("utf-8-undeclared", "no declaration: UTF-8", sets(**_in("UTF-8", None))),
    of_file("utf-8-decomposed", "accents as characters of their own", _decomposed),
    of_pupil("letters-of-iso-8859-15", "œ, Ÿ and the euro sign", edit=lambda pupil: replace(
        pupil, family_name="BŒUF-ŸVES", usage_name="ŠIMON €", first_name="Cœur")),
    of_pupil("damaged-letter", "a letter that the exporter could not write", "damaged_name",
        edit=lambda pupil: replace(pupil, family_name="KOVA?"), told=("KOVA?",)),
    of_pupil("lost-letter", "a letter that the encoding lacks", "damaged_name",
        edit=lambda pupil: replace(pupil, first_name="Đorđe"), becomes=lambda pupil: replace(
            pupil, first_name="?or?e"), told=("?or?e",)),
    refused("utf-8-declared-iso", "saved again as UTF-8, the header left", "encoding_mismatch",
        _with_letters("UTF-8", "ISO-8859-15"), told=("ISO-8859-15", "UTF-8")),
    refused("utf-8-mark-declared-iso", "saved again with a mark, the header left", "encoding_mismatch",
        _with_letters("UTF-8", "ISO-8859-15", mark=True), told=("ISO-8859-15", "UTF-8")),
    refused("windows-1252-declared-iso", "saved again by an old editor", "encoding_mismatch",
        _with_letters("cp1252", "ISO-8859-15"), told=("ISO-8859-15", "Windows-1252")),
    refused("iso-declared-utf-8", "the header changed, the bytes not", "encoding_mismatch",
        _with_letters("ISO-8859-15", "UTF-8"), told=("UTF-8",)),
    refused("iso-undeclared", "the header removed from a file in ISO-8859-15", "encoding_mismatch",
        _with_letters("ISO-8859-15", None), told=("UTF-8",)),
    refused("windows-1252", "an encoding that no export has", "encoding_unknown",
        sets(**_in("cp1252", "windows-1252")), told=("windows-1252",)),
    refused("utf-16", "two bytes for each character", "encoding_unknown",
        on_bytes(lambda xml: xml.decode("iso-8859-15").replace("ISO-8859-15", "UTF-16").encode("utf-16")),
        told=("UTF-16",)),
)  # fmt: skip
