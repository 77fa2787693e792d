"""The words of refusals, remarks and stops in English. French, beside the rules themselves, is what a school is told.

A refusal keeps its French text with what was found. Its English text is made of the same findings, read back out of
the French one: what is language-neutral there (lines, dates, UAI). A text of an older wording gives none; then the
English title has to do.
"""

import re
from collections.abc import Mapping

from cpro_siecle_import.domain import refusals
from cpro_siecle_import.domain.findings import Finding
from cpro_siecle_import.domain.guard import StopReason, Words
from cpro_siecle_import.domain.refusals import Refusal

_AGAIN = "Export again from SIECLE (“Exportations”, “Élèves sans adresses”) and upload the file as it is."
_NOT_IMPORTED = "the pupil is neither imported nor changed"
_CORRECT = "correct the sheet in SIECLE, then export again."
_COMPLETE = "complete the sheet in SIECLE, then export again."
_NO_TRANSFER = "the records can't be transferred automatically"

REFUSALS: Mapping[str, tuple[str, str]] = {
    refusals.EMPTY_FILE.code: ("Empty file", f"The file is empty; the export of pupils was expected. {_AGAIN}"),
    refusals.NOT_XML_NOR_ZIP.code: ("Neither XML nor zip", f"The content is neither XML nor a zip archive. {_AGAIN}"),
    refusals.WRONG_KIND.code: (
        "Not the file of pupils",
        f"The file is of another kind than SIECLE's export of pupils (ElevesSansAdresses or ElevesAvecAdresses). "
        f"{_AGAIN}",
    ),
    refusals.ZIP_CORRUPT.code: (
        "Damaged zip archive",
        f"The zip archive can't be read to its end; the download may have been interrupted. {_AGAIN}",
    ),
    refusals.ZIP_ENCRYPTED.code: ("Zip archive with a password", f"The zip archive asks for a password. {_AGAIN}"),
    refusals.ZIP_NESTED.code: (
        "Archive within an archive",
        "The zip archive holds another archive. Upload the inner one, or the XML file itself.",
    ),
    refusals.ZIP_UNSAFE_PATH.code: (
        "Suspicious zip archive",
        f"The zip archive holds a forbidden path; a single XML file was expected. {_AGAIN}",
    ),
    refusals.ZIP_WITHOUT_XML.code: ("No XML file in the archive", f"The zip archive holds no XML file. {_AGAIN}"),
    refusals.ZIP_SEVERAL_FILES.code: (
        "Several files in the archive",
        "The zip archive holds {count} files; one was expected, the export of pupils. Upload that file alone.",
    ),
    refusals.EXPANSION_LIMIT.code: (
        "File too large once expanded",
        f"Once expanded, the file is over {{limit_mb}} MB or over what is plausible for such an archive. {_AGAIN}",
    ),
    refusals.XML_MALFORMED.code: (
        "XML incomplete or malformed",
        f"Reading stops at line {{line}}: the file is truncated or was changed. {_AGAIN}",
    ),
    refusals.XML_OVERSIZED.code: (
        "Unusual XML structure",
        f"An element is of a size or depth that no export of SIECLE has (about line {{line}}). {_AGAIN}",
    ),
    refusals.DOCTYPE_FORBIDDEN.code: (
        "Forbidden declaration in the XML",
        f"The XML holds a DOCTYPE or ENTITY declaration, which is refused for safety. {_AGAIN}",
    ),
    refusals.ENCODING_UNKNOWN.code: (
        "Encoding not supported",
        f"The XML announces the encoding “{{declared}}”; ISO-8859-15, ISO-8859-1 or UTF-8 was expected. {_AGAIN}",
    ),
    refusals.ENCODING_MISMATCH.code: (
        "Encoding announced and content differ",
        "The characters are not of the encoding that the file announces: accented names would be wrong. An editor has "
        f"probably saved it again. {_AGAIN}",
    ),
    refusals.UAI_MISSING.code: (
        "Establishment missing from the file",
        f"The file has no valid UAI; {{expected}} was expected. {_AGAIN}",
    ),
    refusals.UAI_OF_ANOTHER_SCHOOL.code: (
        "File of another establishment",
        "The file is that of establishment {found}; that of {expected} was expected. Check the establishment chosen in "
        "SIECLE before the export, or the account with which you are signed in.",
    ),
    refusals.EXPORT_OUTDATED.code: (
        "Export older than the last one imported",
        f"The file was exported on {{found}}; the last import that was applied came from an export of {{last}}. "
        f"{_AGAIN}",
    ),
    refusals.EXPORT_IN_FUTURE.code: (
        "Export dated in the future",
        "The file says that it was exported on {found}, after its upload ({received}). Upload it again once that date "
        "is past, or export again from SIECLE.",
    ),
    refusals.EXPORT_DATE_UNREADABLE.code: (
        "Export date unreadable",
        f"The export date of the file, “{{found}}”, can't be read; 15/09/2026 or 15/09/2026 18:30:00 was expected. "
        f"{_AGAIN}",
    ),
    refusals.NO_PUPIL.code: ("No pupil in the file", f"The file holds no pupil; all were expected. {_AGAIN}"),
    refusals.NO_STRUCTURES.code: (
        "No division in the file",
        f"The file does not say in which division pupils are; the block STRUCTURES was expected. {_AGAIN}",
    ),
    refusals.ESTABLISHMENT_UNKNOWN.code: (
        "Establishment not known to CPro",
        "Establishment {expected} has no database in CPro yet. Contact support, then upload the file again.",
    ),
    refusals.FILE_MISSING.code: (
        "Uploaded file not found",
        "The uploaded file is no longer in the store, or no longer the same as it was. Upload it again.",
    ),
    refusals.CONFIRMATION_EXPIRED.code: (
        "Confirmation awaited for too long",
        "The import awaited a confirmation and nobody gave it within {days} days: it was cancelled, nothing was "
        f"changed, and the uploaded file was deleted. {_AGAIN}",
    ),
    refusals.PROCESSING_ERROR.code: (
        "Error while processing",
        "An internal error has stopped the import; nothing was changed. Upload the file again, and contact support if "
        "it happens again (import {import_id}).",
    ),
}

FINDINGS: Mapping[str, str] = {
    "siecle_id_missing": f"The line has no pupil id (ELEVE_ID): {_NOT_IMPORTED}; export again from SIECLE.",
    "siecle_id_invalid": f"The pupil id “{{found}}” is no whole number: {_NOT_IMPORTED}; export again from SIECLE.",
    "siecle_id_repeated": f"Two different lines have the same pupil id ({{found}}): neither is imported; {_CORRECT}",
    "family_name_missing": f"The family name is missing: {_NOT_IMPORTED}; {_COMPLETE}",
    "first_name_missing": f"The first name is missing: {_NOT_IMPORTED}; {_COMPLETE}",
    "name_too_long": f"A name is longer than 100 characters: {_NOT_IMPORTED}; {_CORRECT}",
    "birth_date_missing": f"The birth date is missing: {_NOT_IMPORTED}; {_COMPLETE}",
    "birth_date_invalid": f"The birth date “{{found}}” is no date of the form 31/12/2009: {_NOT_IMPORTED}; {_CORRECT}",
    "leaving_date_invalid": (
        f"The leaving date “{{found}}” is no date of the form 31/12/2026: {_NOT_IMPORTED}; {_CORRECT}"
    ),
    "leaving_before_entry": f"The leaving date ({{found}}) is before the entry date: {_NOT_IMPORTED}; {_CORRECT}",
    "ine_repeated": (
        "Two pupils of the file have the same INE ({found}): neither is imported; correct the INE in SIECLE, then "
        "export again."
    ),
    "ine_absent": (
        "The file gives no INE: the pupil is imported with the INE that is known, or without one if there is none, and "
        f"then {_NO_TRANSFER}; complete the sheet in SIECLE."
    ),
    "ine_malformed": (
        f"“{{found}}” is no INE: the pupil is imported without one, and {_NO_TRANSFER}; correct the INE in SIECLE."
    ),
    "ine_key_wrong": (
        f"The key of the INE {{found}} is wrong: the pupil is imported, but {_NO_TRANSFER}; check the INE in SIECLE."
    ),
    "ine_held_by_another": (
        "The INE {found} is that of another pupil of the establishment already: the pupil is imported without one, and "
        f"{_NO_TRANSFER}; check both sheets in SIECLE."
    ),
    "damaged_name": (
        "The name “{found}” holds a “?”, the sign of a character lost by the export: the pupil is imported under this "
        "name; check the sheet in SIECLE."
    ),
    "entry_date_unreadable": (
        "The entry date “{found}” is no date of the form 01/09/2026: the pupil is imported without it; correct the "
        "sheet in SIECLE."
    ),
    "field_too_long": (
        "A value is longer than 64 characters (“{found}…”): the pupil is imported without it; correct the sheet in "
        "SIECLE."
    ),
    "two_divisions": (
        "The pupil is in several divisions ({found}): imported without one; correct the assignment in SIECLE."
    ),
    "structures_of_unknown_pupil": (
        "A division names a pupil who is not in the file ({found}): that is ignored; if the pupil should be there, "
        "check the sheet in SIECLE."
    ),
    "not_arrived": (
        "The pupil has neither a division nor a past leaving date: nothing is changed; assign a division in SIECLE, or "
        "enter the leaving date."
    ),
    "repeated_line": "The same line is there more than once ({found}): one of them counts; there is nothing to do.",
}

_STOPS = {
    StopReason.PREVIEW: (
        "The preview that was asked for is ready: nothing is changed until you confirm. Check the list of changes, "
        "then confirm or cancel."
    ),
    StopReason.OTHER_SCHOOL_YEAR: (
        "The file is that of the school year {found_year}; that of the current one, {expected_year}, was expected. "
        "Check the database chosen in SIECLE, then confirm or cancel."
    ),
    StopReason.MASS_DEACTIVATION: (
        "The import would deactivate {deactivated} pupils, an unusual share of those of the establishment. Check the "
        "list, then confirm if they have left, or cancel."
    ),
    StopReason.FEW_PRESENT: (
        "Pupils present in the file: {present}, less than half of those who were until now. Check that it is complete "
        "and that pupils are assigned to divisions, then confirm or cancel."
    ),
    StopReason.PLAN_CHANGED: (
        "Since the preview, the establishment's database has changed: the import would no longer do what was shown. "
        "Check the new list, then confirm or cancel."
    ),
}
_YEAR_NOT_SAID = (
    "The file does not say of which school year it is; that of the current one, {expected_year}, was expected. Check "
    "the database chosen in SIECLE, then confirm or cancel."
)
STOPS = Words(_STOPS, _YEAR_NOT_SAID)


def sentence_of(finding: Finding, found: str | None, language: str) -> str:
    """The sentence of a remark in `fr` or `en`, with the value that was found."""
    if language != "en":
        return finding.sentence_for(found)
    return FINDINGS[finding.code].replace("{found}", found or "")


def refusal_in_english(refusal: Refusal, french: str) -> tuple[str, str]:
    """The title and the detail, with what the French detail says that was found."""
    title, detail = REFUSALS[refusal.code]
    found = _found_in(refusal, french)
    return title, title + "." if found is None else detail.format(**found)


def _found_in(refusal: Refusal, french: str) -> dict[str, str] | None:
    """What was put into the template; None if the text was not made of it."""
    pieces = re.split(r"\{(\w+)\}", refusal.detail)
    pattern = "".join(re.escape(piece) if place % 2 == 0 else f"(?P<{piece}>.*)" for place, piece in enumerate(pieces))
    match = re.fullmatch(pattern, french, re.DOTALL)
    # A date and time is written the French way, with a word of it.
    return {name: value.replace(" à ", " at ") for name, value in match.groupdict().items()} if match else None
