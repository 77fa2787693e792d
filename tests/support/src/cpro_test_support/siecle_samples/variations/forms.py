"""The form of the XML: the same content written otherwise, or no complete XML."""

from cpro_test_support.siecle_samples.files import DEFAULT_BLOCKS, SampleFile
from cpro_test_support.siecle_samples.records import RecordStyle, with_last_year
from cpro_test_support.siecle_samples.variations.deforming import (
    as_cdata,
    as_references,
    indented,
    on_bytes,
    on_text,
    padded,
    sets,
    single_quoted,
    with_comments,
    with_empty_tags,
    with_unknown_tags,
)
from cpro_test_support.siecle_samples.variations.expected import Variation, of_file, refused

_UNKNOWN_BLOCK = (
    "<NOUVEAUX>\n<NOUVEAU ELEVE_ID='1'><ELEVE ELEVE_ID='2'><PRENOM>x</PRENOM></ELEVE></NOUVEAU>\n</NOUVEAUX>\n"
)


def _full(file: SampleFile, _: int) -> None:
    file.style = RecordStyle.FULL


def _with_a_note_of_200_kb(file: SampleFile, _: int) -> None:
    note = "<COMMENTAIRE>" + "très long " * 20_000 + "</COMMENTAIRE>\n"
    file.record_edits["ELEVES", 0].append(lambda record: record.replace("</ELEVE>", f"{note}</ELEVE>"))


FORMS: tuple[Variation, ...] = (
    of_file("full-records", "records with all that real ones carry", _full,
        present=lambda pupils, _: {at: with_last_year(pupil) for at, pupil in pupils.items()}),
    of_file("structures-first", "blocks in another order", sets(blocks=("STRUCTURES", "BOURSES", "OPTIONS", "ELEVES"))),
    of_file("pupils-last", "blocks in yet another order, with addresses",
        sets(blocks=("ADRESSES", "BOURSES", "STRUCTURES", "OPTIONS", "ELEVES"))),
    of_file("parameters-last", "PARAMETRES after DONNEES", sets(parameters_last=True)),
    of_file("no-options", "no OPTIONS and no BOURSES", sets(blocks=("ELEVES", "STRUCTURES"))),
    of_file("unknown-block", "a block that no release had so far", sets(first_in_content=_UNKNOWN_BLOCK)),
    of_file("unknown-part", "a part beside DONNEES, with a block of a known name",
        sets(before_content="<PARTIE><ELEVES><ELEVE ELEVE_ID='3'/></ELEVES></PARTIE>\n")),
    of_file("unknown-tags", "records with tags and attributes that no release had so far", on_text(with_unknown_tags)),
    of_file("empty-tags", "self-closed, empty and blank tags for what is absent", on_text(with_empty_tags)),
    of_file("cdata", "values in CDATA sections", on_text(as_cdata)),
    of_file("character-references", "letters as character references", on_text(as_references)),
    of_file("comments", "comments and processing instructions inside records", on_text(with_comments)),
    of_file("padded-values", "blanks and line ends around values", on_text(padded)),
    of_file("single-quotes", "attributes in single quotes", on_text(single_quoted)),
    of_file("indented", "two tabs before every tag", on_text(indented)),
    of_file("crlf", "line ends of Windows", sets(line_end="\r\n")),
    of_file("cr", "line ends of the old Mac", sets(line_end="\r")),
    of_file("one-line", "no line end at all", sets(line_end="")),
    of_file("very-long-value", "200 kB in a value that is not read", _with_a_note_of_200_kb),
    refused("no-structures", "no STRUCTURES", "no_structures",
        sets(blocks=tuple(block for block in DEFAULT_BLOCKS if block != "STRUCTURES"))),
    refused("empty-structures", "STRUCTURES without any pupil", "no_structures",
        lambda file, _: file.text_edits.append(lambda text: "" if text.startswith("<STRUCTURES_ELEVE ") else text)),
    refused("no-pupils", "no ELEVES", "no_pupil", sets(blocks=("OPTIONS", "STRUCTURES", "BOURSES"))),
    refused("empty-pupils", "ELEVES without any pupil", "no_pupil",
        lambda file, _: file.text_edits.append(lambda text: "" if text.startswith("<ELEVE ") else text)),
    refused("truncated", "cut in the middle", "xml_malformed", on_bytes(lambda xml: xml[: len(xml) // 2]),
        told=("ligne",)),
    refused("truncated-at-the-end", "only the last tag is missing", "xml_malformed",
        on_bytes(lambda xml: xml.rstrip().removesuffix(b"</BEE_ELEVES>"))),
    refused("malformed", "a tag closed by another", "xml_malformed",
        on_bytes(lambda xml: xml.replace(b"</PRENOM>", b"</PRENON>", 1))),
    refused("bare-ampersand", "an ampersand that is not escaped", "xml_malformed",
        on_bytes(lambda xml: xml.replace(b"<PRENOM>", b"<PRENOM>A&B ", 1))),
    refused("control-character", "a character that XML forbids", "xml_malformed",
        on_bytes(lambda xml: xml.replace(b"<PRENOM>", b"<PRENOM>\x02", 1))),
    refused("two-documents", "two files one after the other", "xml_malformed",
        on_bytes(lambda xml: xml + xml[xml.index(b"<BEE_ELEVES") :])),
    refused("endless-value", "a value that never ends", "xml_oversized_element",
        on_bytes(lambda xml: xml.replace(b"</PRENOM>", b" " * 1_000_000 + b"</PRENOM>", 1)), told=("ligne",)),
    refused("doctype", "a DOCTYPE", "doctype_forbidden",
        on_bytes(lambda xml: xml.replace(b"<BEE_ELEVES", b'<!DOCTYPE BEE_ELEVES SYSTEM "e.dtd"><BEE_ELEVES', 1))),
    refused("entity", "an entity that reads a file", "doctype_forbidden",
        on_bytes(lambda xml: xml.replace(
            b"<BEE_ELEVES", b'<!DOCTYPE BEE_ELEVES [<!ENTITY e SYSTEM "file:///etc/passwd">]><BEE_ELEVES', 1
        ).replace(b"<PRENOM>", b"<PRENOM>&e;", 1))),
)  # fmt: skip
