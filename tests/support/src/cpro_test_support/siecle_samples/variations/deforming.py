"""Small changes of a record's text, from which variations are put together."""

import re
from collections.abc import Callable
from html import unescape
from xml.sax.saxutils import escape

from cpro_test_support.siecle_samples.files import PupilEdit, SampleFile, TextEdit

_LEAF = re.compile(r">([^<>]*[^<>\s][^<>]*)<")
_EMPTY_TAGS = ("NOM_USAGE", "PRENOM3", "DATE_SORTIE", "CODE_MOTIF_SORTIE", "INE_BEA")
_ABSENCES = ("<{0}/>", "<{0}></{0}>", "<{0}>  </{0}>", "<{0} />", "<{0}>\n</{0}>")


def says(tag: str, text: str) -> TextEdit:
    """The record says `text` there, whether or not it said anything."""
    return _replacing(tag, f"<{tag}>{escape(text)}</{tag}>\n")


def lacks(tag: str) -> TextEdit:
    """The record does not have the tag."""
    return _replacing(tag, "")


def adds(raw: str) -> TextEdit:
    """Raw text at the end of the record."""
    return lambda record: re.sub(r"(</\w+>\n)$", lambda end: f"{raw}\n{end[1]}", record)


def renames(tag: str, to: str) -> TextEdit:
    """The same value under another tag."""
    return lambda record: record.replace(f"<{tag}>", f"<{to}>").replace(f"</{tag}>", f"</{to}>")


def attribute_as_child(name: str) -> TextEdit:
    """The attribute of the record stands in a child instead."""

    def edit(record: str) -> str:
        match = re.search(rf' {name}="([^"]*)"', record)
        return record if match is None else adds(f"<{name}>{match[1]}</{name}>")(record.replace(match[0], "", 1))

    return edit


def with_attribute(name: str, text: str) -> TextEdit:
    """The record's attribute says `text`."""
    return lambda record: re.sub(rf' {name}="[^"]*"', f' {name}="{text}"', record, count=1)


def on_text(edit: TextEdit) -> Callable[[SampleFile, int], None]:
    """A variation that deforms every text of the file."""
    return lambda file, _: file.text_edits.append(edit)


def on_bytes(edit: Callable[[bytes], bytes]) -> Callable[[SampleFile, int], None]:
    """A variation that deforms the XML as a whole."""
    return lambda file, _: file.byte_edits.append(edit)


def sets(**values: object) -> Callable[[SampleFile, int], None]:
    """A variation that sets fields of the file."""

    def apply(file: SampleFile, _: int) -> None:
        for name, value in values.items():
            setattr(file, name, value)

    return apply


def on_all(edit: PupilEdit) -> Callable[[SampleFile, int], None]:
    """A variation that changes what the file says of every pupil."""
    return lambda file, _: file.edits_of_all.append(edit)


def as_cdata(text: str) -> str:
    """Every value in a CDATA section."""
    return _LEAF.sub(lambda leaf: f"><![CDATA[{unescape(leaf[1])}]]><", text)


def as_references(text: str) -> str:
    """The first character of every value as a decimal reference, other than ASCII as hexadecimal ones."""

    def edit(leaf: re.Match[str]) -> str:
        value = unescape(leaf[1])
        rest = "".join(f"&#x{ord(sign):X};" if ord(sign) > 127 or sign in "&<>" else sign for sign in value[1:])
        return f">&#{ord(value[0])};{rest}<"

    return _LEAF.sub(edit, text)


def with_comments(text: str) -> str:
    """Comments and processing instructions before, between and in the middle of values."""

    def edit(leaf: re.Match[str]) -> str:
        value = leaf[1]
        if "&" in value or len(value) < 2:
            return f"><!-- remarque -->{value}<"
        return f">{value[0]}<!-- remarque <ELEVE> -->{value[1:]}<?note fin?><"

    return _LEAF.sub(edit, text.replace("<PRENOM>", "<!-- <PRENOM/> --><PRENOM>"))


def padded(text: str) -> str:
    """Blanks and line ends around every value."""
    return re.sub(r"(?<=[^>\s])(?=</\w{3,}>)", " \n ", re.sub(r"(<\w{3,}>)(?=[^<\s])", r"\1  \n\t", text))


def indented(text: str) -> str:
    """Two tabs before every tag."""
    return re.sub(r"(?m)^(?=<)", "\t\t", text)


def with_empty_tags(text: str) -> str:
    """Records name what they don't know: self-closed, empty, blank."""
    if not text.startswith("<ELEVE "):
        return text
    empty = [absence.format(tag) for tag, absence in zip(_EMPTY_TAGS, _ABSENCES, strict=True) if f"<{tag}>" not in text]
    return adds("\n".join(empty))(text)


def with_unknown_tags(text: str) -> str:
    """Records hold tags and attributes that no release had so far, some with known names inside."""
    if text.startswith("<ELEVE "):
        raw = "<TAG_NOUVEAU A='1'><NOM_DE_FAMILLE>AUTRE</NOM_DE_FAMILLE><B/></TAG_NOUVEAU><AUTRE>x</AUTRE>"
        return adds(raw)(text.replace("<ELEVE ", "<ELEVE NOUVEAU='1' ", 1))
    return text


def single_quoted(text: str) -> str:
    """Attributes in single quotes, with blanks around the sign."""
    return re.sub(r'(\w+)="([^"]*)"', r"\1 = '\2'", text)


def _replacing(tag: str, element: str) -> TextEdit:
    present = re.compile(rf"<{tag}>[^<]*</{tag}>\n|<{tag}/>\n")

    def edit(record: str) -> str:
        if present.search(record):
            return present.sub(lambda _: element, record, count=1)
        return adds(element.rstrip("\n"))(record) if element else record

    return edit
