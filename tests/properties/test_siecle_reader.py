"""The reader that cuts records out of the text reads what lxml's tree of the same document holds.

The tree is the specification: a document is written with whatever XML allows, and read both ways.
"""

import io
import unicodedata
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from cpro_siecle_import.adapters.packaging import ExpansionLimits, ExportStream
from cpro_siecle_import.adapters.siecle_xml import SiecleReader
from cpro_siecle_import.adapters.xml_records import PlainMarkup, RecordCutter, Stretch
from cpro_siecle_import.domain.lines import DivisionLine, PupilLine, read_pupil
from cpro_test_support.depth import examples

FIELDS = {
    "ELEVE_ID": "siecle_id", "ELENOET": "school_number", "NOM_DE_FAMILLE": "family_name", "NOM_USAGE": "usage_name",
    "PRENOM": "first_name", "DATE_NAISS": "birth_date", "CODE_SEXE": "sex", "DATE_ENTREE": "entry_date",
    "DATE_SORTIE": "leaving_date", "CODE_MOTIF_SORTIE": "leaving_reason", "CODE_MEF": "mef_code",
    "CODE_STATUT": "status_code", "CODE_REGIME": "boarding_code", "DOUBLEMENT": "repeating",
}  # fmt: skip
ASIDE = ("PRENOM2", "PRENOM3", "ID_NATIONAL", "INE_RNIE", "INE_BEA", "NOM")
NAMES = (*FIELDS, *ASIDE, "SCOLARITE_AN_DERNIER", "CODE_RNE", "ELEVE", "ELEVES", "AUTRE", "x:AUTRE", "ELEVE_BIS")
WORDS = (
    "BŒUF", "12/03/2009", "123456789FJ", "0931434D", "1", "D", "2 COM", "Inactifs", "  a   b ", "é", "e\u0301", "a\nb",
    "a > b", "N'DIAYE", "\u00a0x", " DUPONT", "DUPONT ", "\\t", "|", "", " ", "?", "101",
)  # fmt: skip
blanks = st.sampled_from(["", "", "\n", "\n  ", "\r\n", "\t"])


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A text as XML may write it."""
    word = draw(st.sampled_from(WORDS))
    way = draw(st.integers(0, 9))
    if way == 0:
        return f"<![CDATA[{word}]]>"
    if way == 1:
        return "".join(f"&#{ord(letter)};" for letter in word)
    if way == 2:
        return f"{escape(word)}<!-- <ELEVE> --{'>'}&amp;&apos;"
    return escape(word)


@st.composite
def attributes(draw: st.DrawFn, names: tuple[str, ...]) -> str:
    chosen = draw(st.lists(st.sampled_from(names), max_size=2, unique=True))
    written = ""
    for name in chosen:
        quote = draw(st.sampled_from('""\''))
        value = draw(st.sampled_from(["1", "23", " 4 ", "a>b", "&lt;5&gt;", "x'y" if quote == '"' else 'x"y', ""]))
        space = draw(st.sampled_from([" ", " ", "\n"]))
        written += f"{space}{name}{draw(st.sampled_from(['=', ' = ']))}{quote}{value}{quote}"
    return written


@st.composite
def elements(draw: st.DrawFn, name: str, children: "st.SearchStrategy[str]", some: int) -> str:
    """An element: empty, self-closed, or with text and children, its tags written in any way."""
    written = draw(attributes(("ELEVE_ID", "ELENOET", "x:nil")))
    if draw(st.integers(0, 9)) == 0:
        return f"<{name}{written}/>{draw(blanks)}"
    inside = "".join(draw(st.lists(children, max_size=some)))
    end = draw(st.sampled_from(["", "", "", " ", "\n"]))
    return f"<{name}{written}{end}>{draw(blanks)}{inside}</{name}{end}>{draw(blanks)}"


specials = st.sampled_from(["<!-- c -->\n", "<?pi <ELEVE> ?>", "<!--</ELEVE>\n-->"])
leaves = st.sampled_from(NAMES).flatmap(lambda name: elements(name, texts(), 1))
last_years = elements("SCOLARITE_AN_DERNIER", st.one_of(leaves, elements("CODE_RNE", texts(), 1)), 3)
fields = st.one_of(
    leaves, leaves, leaves, leaves, leaves, last_years, specials, elements("AUTRE", st.one_of(leaves, last_years), 2)
)
structures = elements(
    "STRUCTURE",
    st.one_of(
        elements("CODE_STRUCTURE", texts(), 1),
        elements("TYPE_STRUCTURE", st.sampled_from(["D", "D", "&#68;", "<![CDATA[D]]>", " D\n"]), 1),
        leaves,
    ),
    3,
)


@st.composite
def nearly_plain_pupils(draw: st.DrawFn) -> str:
    """As exporters write them, but for one oddity at most."""

    def plain(name: str) -> str:
        # A UAI that is none is dropped by the rules: then it would not matter where it was found.
        word = "0931434D" if name == "CODE_RNE" else draw(st.sampled_from(WORDS))
        return f"<{name}>{escape(word)}</{name}>\n"

    names = draw(st.lists(st.sampled_from((*FIELDS, *ASIDE, "AUTRE")), max_size=5))
    children = [plain(name) for name in names]
    last_year = f"<SCOLARITE_AN_DERNIER>\n{plain('SIGLE')}{plain('CODE_RNE')}</SCOLARITE_AN_DERNIER>\n"
    odd = st.sampled_from(
        [
            last_year, last_year, f"<AUTRE>{last_year}</AUTRE>", f"<AUTRE/>{last_year}",
            f"<SCOLARITE_AN_DERNIER><AUTRE>{plain('CODE_RNE')}</AUTRE>{plain('CODE_RNE')}</SCOLARITE_AN_DERNIER>",
            f"<SCOLARITE_AN_DERNIER><AUTRE>{plain('CODE_RNE')}</AUTRE></SCOLARITE_AN_DERNIER>",
        ]
    )  # fmt: skip
    children.insert(draw(st.integers(0, len(children))), draw(st.one_of(odd, odd, odd, fields)))
    return f'<ELEVE ELEVE_ID="12">\n{"".join(children)}</ELEVE>\n'


pupils = st.one_of(
    elements("ELEVE", fields, 8), nearly_plain_pupils(), nearly_plain_pupils(), specials, elements("AUTRE", fields, 2)
)
placings = st.one_of(elements("STRUCTURES_ELEVE", st.one_of(structures, structures, leaves), 4), specials)
blocks = st.one_of(
    elements("ELEVES", pupils, 5),
    elements("STRUCTURES", placings, 4),
    elements("OPTIONS", st.one_of(leaves, pupils), 3),
    specials,
)
parts = st.one_of(
    elements("DONNEES", blocks, 4), elements("DONNEES", blocks, 4), elements("AUTRE", blocks, 2), specials
)


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    uai = "".join(draw(st.sampled_from([letter, letter, f"&#{ord(letter)};"])) for letter in "0752387M")
    head = draw(st.sampled_from(["", '<?xml version="1.0" encoding="UTF-8"?>\n', "<!-- before -->\n"]))
    parameters = f"<PARAMETRES><UAJ>{uai}</UAJ></PARAMETRES>"
    inside = "".join(draw(st.lists(parts, min_size=1, max_size=3)))
    # What the reader insists on, so that no document is refused for having nothing in it.
    enough = "<DONNEES><ELEVES><ELEVE/></ELEVES><STRUCTURES><STRUCTURES_ELEVE/></STRUCTURES></DONNEES>"
    return f'{head}<BEE_ELEVES xmlns:x="urn:x">{parameters}{inside}{enough}</BEE_ELEVES>\n'.encode()


def clean(text: str | None) -> str | None:
    return " ".join(unicodedata.normalize("NFC", text or "").strip().split()) or None


def from_tree(content: bytes) -> tuple[list[PupilLine], list[DivisionLine]]:
    """The same, from the tree of the whole document."""
    root = etree.fromstring(content, etree.XMLParser(remove_comments=True, remove_pis=True))
    pupils = [_pupil(element) for element in root.iterfind("DONNEES/ELEVES/ELEVE")]
    return pupils, [_placing(element) for element in root.iterfind("DONNEES/STRUCTURES/STRUCTURES_ELEVE")]


def _pupil(element: Any) -> PupilLine:
    found: dict[str, str] = {}
    aside: dict[str, str] = {}
    for child in element:
        value = clean(child.text)
        if child.tag in FIELDS and value:
            found[FIELDS[child.tag]] = value
        elif child.tag in ASIDE and value:
            aside[child.tag] = value
        elif child.tag == "SCOLARITE_AN_DERNIER" and (value := clean(child.findtext("CODE_RNE"))):
            found["previous_uai"] = value
    for attribute, name in (("ELEVE_ID", "siecle_id"), ("ELENOET", "school_number")):
        if value := clean(element.get(attribute)):
            found[name] = value
    if "NOM" in aside:
        found.setdefault("family_name", aside["NOM"])
    if others := [aside[tag] for tag in ("PRENOM2", "PRENOM3") if tag in aside]:
        found["other_first_names"] = " ".join(others)
    return read_pupil(0, found, tuple(aside[tag] for tag in ("ID_NATIONAL", "INE_RNIE", "INE_BEA") if tag in aside))


def _placing(element: Any) -> DivisionLine:
    codes = [
        code
        for structure in element.iterfind("STRUCTURE")
        if clean(structure.findtext("TYPE_STRUCTURE")) == "D"
        and (code := clean(structure.findtext("CODE_STRUCTURE")))
        and code.lower() != "inactifs"
    ]
    siecle_id = clean(element.get("ELEVE_ID")) or clean(element.findtext("ELEVE_ID"))
    return DivisionLine(0, siecle_id, tuple(dict.fromkeys(codes)))


def from_reader(content: bytes) -> tuple[list[PupilLine], list[DivisionLine]]:
    reader = SiecleReader(ExportStream(io.BytesIO(content), len(content), len(content), ExpansionLimits()))
    batches = list(reader.batches())
    assert reader.header.uai == ("0752387M" if b"<UAJ>" in content else None)
    pupils = [line._replace(line=0) for batch in batches for line in batch.pupils]
    return pupils, [line._replace(line=0) for batch in batches for line in batch.divisions]


@settings(max_examples=examples(400), deadline=None)
@given(documents())
def test_the_reader_finds_what_is_in_the_tree(content: bytes) -> None:
    assert from_reader(content) == from_tree(content)


@settings(max_examples=examples(500), deadline=None)
@given(st.lists(nearly_plain_pupils(), min_size=1, max_size=4))
def test_a_record_that_is_nearly_as_exporters_write_it_is_read_like_any_other(pupils: list[str]) -> None:
    content = (
        f"<BEE_ELEVES xmlns:x='urn:x'><DONNEES><ELEVES>{''.join(pupils)}</ELEVES>"
        '<STRUCTURES><STRUCTURES_ELEVE ELEVE_ID="12"/></STRUCTURES></DONNEES></BEE_ELEVES>'
    ).encode()

    assert from_reader(content) == from_tree(content)


def cut(text: str, sizes: Iterator[int]) -> list[Stretch]:
    """The records of a document that arrives in pieces of these sizes."""
    wanted = [("PARAMETRES",), ("DONNEES", "ELEVES", "ELEVE"), ("DONNEES", "STRUCTURES", "STRUCTURES_ELEVE")]
    markup, cutter = PlainMarkup(), RecordCutter(wanted, 1_000_000, AssertionError)
    found: list[Stretch] = []
    while text:
        size = next(sizes)
        piece, text = text[:size], text[size:]
        found += cutter.feed(markup.feed(piece))
    return found


@settings(max_examples=examples(300), deadline=None)
@given(documents(), st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_it_does_not_matter_where_the_document_is_cut_on_its_way(content: bytes, sizes: list[int]) -> None:
    text = content.decode()

    def again() -> Iterator[int]:
        while True:
            yield from sizes

    in_pieces, whole = cut(text, again()), cut(text, iter([len(text)]))

    assert [(s.path, r) for s in in_pieces for r in s.records] == [(s.path, r) for s in whole for r in s.records]


@pytest.mark.parametrize("comment", ["<!-- a\nb -->", "<?pi\n?>", "<AUTRE>\n</AUTRE>"])
def test_records_are_told_by_the_line_on_which_they_begin(comment: str) -> None:
    text = f"<R>\n<DONNEES>\n{comment}<ELEVES>\n<ELEVE>\n</ELEVE>\n\n <ELEVE/>\n</ELEVES></DONNEES></R>"

    stretches = cut(text, iter([len(text)]))

    assert [record.line for stretch in stretches for record in stretch.records] == [5, 8]
