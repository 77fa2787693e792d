"""Right form, wrong file: another school's, nobody's, tomorrow's, or an export of nothing."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

from cpro_test_support.hostile_files.hostile_file import HostileFile, Make, Row, Target, files, swapped
from cpro_test_support.siecle_samples import siecle_zip

OTHER_UAI = "0660864F"


def _saying(tag: str, text: str) -> Make:
    """A good export with another text in one of its parameters."""

    def make(target: Target) -> bytes:
        content = target.xml()
        start, end = content.index(f"<{tag}>".encode()), content.index(f"</{tag}>".encode())
        return content[:start] + f"<{tag}>{text}".encode("iso8859-15") + content[end:]

    return make


def _without(tag: str) -> Make:
    return lambda target: target.xml().replace(f"<{tag}>".encode(), b"<X>").replace(f"</{tag}>".encode(), b"</X>")


def _later(delay: timedelta) -> Make:
    return lambda target: target.xml(exported_at=target.exported_at + delay)


def _of_uai(change: Callable[[str], str]) -> Make:
    return lambda target: target.xml(uai=change(target.uai))


def _unplaced(target: Target) -> bytes:
    return target.xml(pupils=[replace(pupil, division=None, groups=()) for pupil in target.pupils])


def _swapped_blocks(target: Target) -> bytes:
    """Pupils where their classes should be, and the reverse."""
    content = target.xml().replace(b"ELEVES>", b"TMP>").replace(b"<STRUCTURES>", b"<ELEVES>")
    return (
        content.replace(b"</STRUCTURES>", b"</ELEVES>")
        .replace(b"BEE_TMP>", b"BEE_ELEVES>")
        .replace(b"TMP>", b"STRUCTURES>")
    )


_ROWS: tuple[Row, ...] = (
    ("uai-of-another-school", "uai_of_another_school", lambda t: t.xml(uai=OTHER_UAI)),
    ("uai-of-another-school-zipped", "uai_of_another_school",
        lambda t: siecle_zip(OTHER_UAI, t.pupils, school_year=t.school_year, exported_at=t.exported_at)),
    ("uai-empty", "uai_missing", _saying("UAJ", "")),
    ("uai-blank", "uai_missing", _saying("UAJ", "  \n ")),
    ("uai-tag-missing", "uai_missing", _without("UAJ")),
    ("uai-of-a-wrong-key", "uai_missing", _of_uai(lambda uai: uai[:-1] + ("A" if uai[-1] != "A" else "B"))),
    ("uai-too-short", "uai_missing", _of_uai(lambda uai: uai[1:])),
    ("uai-too-long", "uai_missing", _of_uai(lambda uai: uai + uai)),
    ("uai-in-tags", "uai_missing", _saying("UAJ", "<CODE>0752387M</CODE>")),
    ("uai-endless", "uai_missing", _saying("UAJ", "0" * 20_000)),
    ("uai-with-braces", "uai_missing", _saying("UAJ", "{0}{expected.__class__}")),
    ("uai-with-a-quote", "uai_missing", _saying("UAJ", "0752387M'; --")),
    ("uai-as-an-attribute", "uai_missing", lambda t: swapped(t.xml(uai=""), b"<UAJ>", b'<UAJ code="0752387M">')),
    ("parameters-missing", "uai_missing", _without("PARAMETRES")),
    ("parameters-inside-the-content", "uai_missing",
        lambda t: (x := t.xml())[: x.index(b"<PARAMETRES>")] + b"<DONNEES>" + x[x.index(b"<PARAMETRES>") :].replace(b"<DONNEES>", b"", 1)),
    ("a-week-in-the-future", "export_in_future", _later(timedelta(days=30))),
    ("a-century-in-the-future", "export_in_future", _later(timedelta(days=36_500))),
    ("the-last-day-of-time", "export_in_future", _saying("DATE_EXPORT", "31/12/9999")),
    ("the-last-second-of-time", "export_in_future", _saying("HORODATAGE", "31/12/9999 23:59:59")),
    ("date-of-other-order", "export_date_unreadable", _saying("DATE_EXPORT", "2026-09-15")),
    ("date-that-is-none", "export_date_unreadable", _saying("DATE_EXPORT", "31/02/2026")),
    ("date-of-year-nought", "export_date_unreadable", _saying("DATE_EXPORT", "01/01/0000")),
    ("date-of-two-digits", "export_date_unreadable", _saying("DATE_EXPORT", "15/09/26")),
    ("date-in-words", "export_date_unreadable", _saying("DATE_EXPORT", "hier")),
    ("date-endless", "export_date_unreadable", _saying("DATE_EXPORT", "1" * 20_000)),
    ("date-in-other-digits", "export_date_unreadable", _saying("DATE_EXPORT", "&#x661;5/09/2026")),
    ("timestamp-of-hour-25", "export_date_unreadable", _saying("HORODATAGE", "15/09/2026 25:00:00")),
    ("timestamp-of-second-60", "export_date_unreadable", _saying("HORODATAGE", "15/09/2026 12:00:60")),
    ("timestamp-without-time", "export_date_unreadable", _saying("HORODATAGE", "15/09/2026")),
    ("timestamp-of-a-spreadsheet", "export_date_unreadable", _saying("HORODATAGE", "46280,77")),
    ("no-pupil", "no_pupil", lambda t: t.xml(pupils=[])),
    ("no-block-of-pupils", "no_pupil", lambda t: t.xml(blocks=("STRUCTURES", "OPTIONS"))),
    ("no-content", "no_pupil", _without("DONNEES")),
    ("pupils-in-lower-case", "no_pupil", lambda t: t.xml().replace(b"<ELEVE ", b"<eleve ").replace(b"</ELEVE>", b"</eleve>")),
    ("blocks-swapped", "no_pupil", _swapped_blocks),
    ("no-structures", "no_structures", lambda t: t.xml(blocks=("ELEVES", "OPTIONS"))),
    ("structures-empty", "no_structures", lambda t: t.xml(blocks=("ELEVES",)).replace(b"</DONNEES>", b"<STRUCTURES/></DONNEES>")),
    ("structures-of-nobody", "no_structures", _unplaced),
)  # fmt: skip


def parameters() -> Iterator[HostileFile]:
    """See the module."""
    yield from files("parameter", _ROWS)
