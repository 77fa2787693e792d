"""XML that is none: characters, references, tags and ends that the language forbids."""

from collections.abc import Iterator

from cpro_test_support.hostile_files.hostile_file import (
    HostileFile,
    Row,
    Target,
    after,
    files,
    in_content,
    in_name,
    in_pupils,
    swapped,
)

_FORBIDDEN_CONTROLS = (0x00, 0x01, 0x02, 0x07, 0x08, 0x0B, 0x0C, 0x0E, 0x1A, 0x1B, 0x1F)
_REFERENCES = {
    "to-nul": b"&#0;",
    "to-nul-in-hexadecimal": b"&#x0000;",
    "to-a-control": b"&#1;",
    "to-escape": b"&#x1B;",
    "to-a-high-surrogate": b"&#xD800;",
    "to-a-low-surrogate": b"&#xDFFF;",
    "to-a-pair-of-surrogates": b"&#xD83D;&#xDE00;",
    "to-fffe": b"&#xFFFE;",
    "to-ffff": b"&#xFFFF;",
    "beyond-unicode": b"&#x110000;",
    "beyond-32-bits": b"&#4294967361;",
    "beyond-64-bits": b"&#99999999999999999999999;",
    "negative": b"&#-65;",
    "empty": b"&#;",
    "empty-in-hexadecimal": b"&#x;",
    "not-hexadecimal": b"&#xZZ;",
    "never-closed": b"&#65 ",
    "bare-ampersand": b"DUPONT & FILS",
    "of-html": b"&eacute;",
    "of-html-blank": b"&nbsp;",
    "of-html-never-closed": b"&eacute ",
    "empty-name": b"&;",
    "of-a-parameter": b"&%x;",
}
_IN_A_NAME: dict[str, bytes] = {
    "end-of-character-data": b"a]]>b",
    "less-than": b"a < b",
    "comment-with-two-hyphens": b"<!-- a -- b -->",
    "comment-never-closed": b"<!-- a",
    "character-data-never-closed": b"<![CDATA[a",
    "instruction-never-closed": b"<?a b",
    "instruction-called-xml": b"<?xml a?>",
    "header-again": b'<?xml version="1.0"?>',
    "tag-without-name": b"<>",
    "tag-with-a-digit": b"<1A/>",
    "tag-with-a-space": b"< A/>",
    "tag-with-an-emoji": b"<\xf0\x9f\x98\x80/>",
    "end-without-name": b"</>",
    "end-too-many": b"</NOM_DE_FAMILLE></NOM_DE_FAMILLE>",
    "end-with-an-attribute": b"<A></A b='c'>",
    "two-colons": b"<a:b:c",
    "declaration-of-an-element": b"<!ELEMENT A ANY>",
    "conditional-section": b"<![INCLUDE[a]]>",
    "attribute-without-value": b"<A b/>",
    "attribute-without-quotes": b"<A b=c/>",
    "attribute-twice": b"<A b='1' b='2'/>",
    "attribute-twice-by-two-prefixes": b"<A xmlns:x='u' xmlns:y='u' x:b='1' y:b='2'/>",
    "attribute-with-less-than": b"<A b='<'/>",
    "attribute-never-closed": b"<A b='c/>",
    "attributes-without-space": b"<A b='1'c='2'/>",
    "attribute-with-nul": b"<A b='\x00'/>",
    "attribute-with-a-reference-to-nul": b"<A b='&#0;'/>",
    "attribute-with-an-unknown-entity": b"<A b='&eacute;'/>",
}
# What UTF-8 forbids.
_BROKEN_UTF_8 = {
    "lone-high-surrogate": b"\xed\xa0\x80",
    "lone-low-surrogate": b"\xed\xbf\xbf",
    "pair-of-surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "overlong-slash": b"\xc0\xaf",
    "overlong-less-than": b"\xc0\xbc",
    "overlong-less-than-in-three": b"\xe0\x80\xbc",
    "overlong-nul": b"\xc0\x80",
    "overlong-in-four": b"\xf0\x80\x80\xaf",
    "beyond-unicode": b"\xf4\x90\x80\x80",
    "five-bytes": b"\xf8\x88\x80\x80\x80",
    "lone-continuation": b"\x80",
    "cut-character": b"\xe2\x82",
    "fe": b"\xfe",
    "ff": b"\xff",
}


def _without_header(target: Target) -> bytes:
    return target.xml(encoding="UTF-8", declared_encoding=None).split(b"?>\n", 1)[1]


def _crossed(target: Target) -> bytes:
    return swapped(target.xml(), b"</PRENOM>\n", b"").replace(b"</ELEVE>", b"</ELEVE></PRENOM>", 1)


def _parameters_again(target: Target) -> bytes:
    parameters = b"<PARAMETRES><UAJ>" + target.uai.encode() + b"</UAJ></PARAMETRES>"
    return swapped(target.xml(), b"</BEE_ELEVES>", parameters + b"</BEE_ELEVES>")


_WHOLE: tuple[Row, ...] = (
    ("tags-that-cross", "xml_malformed", _crossed),
    ("tag-in-the-other-case", "xml_malformed", lambda t: swapped(t.xml(), b"</ELEVES>", b"</eleves>")),
    ("end-missing", "xml_malformed", lambda t: swapped(t.xml(), b"</ELEVE>", b"")),
    ("start-missing", "xml_malformed", lambda t: swapped(t.xml(), b"<ELEVES>", b"")),
    ("less-than-deleted", "xml_malformed", lambda t: swapped(t.xml(), b"</PRENOM>", b"/PRENOM>")),
    ("line-deleted", "xml_malformed", lambda t: swapped(t.xml(), b"<ELEVE ELEVE_ID", b"ELEVE_ID")),
    ("quote-deleted", "xml_malformed", lambda t: swapped(t.xml(), b'ELEVE_ID="', b"ELEVE_ID=")),
    ("curly-quotes", "xml_malformed",
        lambda t: swapped(t.xml(encoding="UTF-8"), b'ELEVE_ID="', "ELEVE_ID=“".encode())),
    ("two-roots", "xml_malformed", lambda t: t.xml() + b"<BEE_ELEVES/>"),
    ("two-exports-pasted", "xml_malformed", lambda t: t.xml() + t.xml()),
    ("text-behind-the-root", "xml_malformed", lambda t: t.xml() + b"bonjour"),
    ("nul-behind-the-root", "xml_malformed", lambda t: t.xml() + b"\x00" * 512),
    ("end-of-file-mark-behind-the-root", "xml_malformed", lambda t: t.xml() + b"\x1a"),
    ("zip-behind-the-root", "xml_malformed", lambda t: t.xml() + b"PK\x05\x06" + b"\x00" * 18),
    ("comment-open-behind-the-root", "xml_malformed", lambda t: t.xml() + b"<!-- "),
    ("end-behind-the-root", "xml_malformed", lambda t: t.xml() + b"</BEE_ELEVES>"),
    ("blank-before-the-header", "xml_malformed", lambda t: b"\n" + t.xml()),
    ("header-twice", "xml_malformed", lambda t: b'<?xml version="1.0"?>\n' + t.xml()),
    ("header-never-closed", "xml_malformed", lambda t: swapped(t.xml(), b"?>", b">")),
    ("header-in-capitals", "xml_malformed", lambda t: swapped(t.xml(), b"<?xml", b"<?XML")),
    ("header-without-version", "xml_malformed", lambda t: swapped(t.xml(), b' version="1.0"', b"")),
    ("header-of-version-2", "xml_malformed", lambda t: swapped(t.xml(), b'"1.0"', b'"2.0"')),
    ("header-of-version-1.1-with-a-control", "xml_malformed",
        lambda t: swapped(in_name(b"&#1;")(t), b'"1.0"', b'"1.1"')),
    ("header-with-another-answer", "xml_malformed",
        lambda t: swapped(t.xml(), b"?>", b' standalone="peut-\xeatre"?>')),
    ("header-alone", "xml_malformed", lambda _: b'<?xml version="1.0" encoding="ISO-8859-15"?>\n'),
    ("comment-alone", "xml_malformed", lambda _: b"<!-- rien -->"),
    ("less-than-alone", "xml_malformed", lambda _: b"<"),
    ("root-alone", "no_pupil", lambda _: b"<BEE_ELEVES/>"),
    ("root-open", "xml_malformed", lambda _: b"<BEE_ELEVES>"),
    ("parameters-twice", "xml_malformed", _parameters_again),
    ("all-nul", "empty_file", lambda _: b"\x00" * 4096),
    ("second-half-nul", "xml_malformed", lambda t: (x := t.xml())[: len(x) // 2] + b"\x00" * (len(x) // 2)),
    ("page-of-nul", "xml_malformed", lambda t: (x := t.xml())[:4096] + b"\x00" * 4096 + x[8192:]),
    ("line-ends-of-nul", "xml_malformed", lambda t: t.xml().replace(b"\n", b"\x00")),
    ("reserved-prefix", "xml_malformed", in_content(b"<a xmlns:xmlns='u'/>")),
    ("redefined-prefix", "xml_malformed", in_content(b"<a xmlns:xml='u'/>")),
    ("nul-in-the-root", "xml_malformed", lambda t: swapped(t.xml(), b"<BEE_ELEVES ", b"<BEE_ELEVES\x00 ")),
    ("nul-in-a-key", "xml_malformed", lambda t: after(t.xml(), b'ELEVE_ID="', b"\x00")),
    ("nul-in-a-pupil", "xml_malformed", in_pupils(b"\x00")),
)  # fmt: skip


def broken_markup() -> Iterator[HostileFile]:
    """See the module."""
    yield from files("markup", _WHOLE)
    yield from files("markup", ((name, "xml_malformed", in_name(text)) for name, text in _IN_A_NAME.items()))
    yield from files("reference", ((name, "xml_malformed", in_name(text)) for name, text in _REFERENCES.items()))
    yield from files(
        "character",
        ((f"control-{code:02x}", "xml_malformed", in_name(bytes([code]))) for code in _FORBIDDEN_CONTROLS),
    )
    yield from files(
        "character",
        (
            (f"utf-8-{name}", "encoding_mismatch", in_name(text, encoding="UTF-8"))
            for name, text in _BROKEN_UTF_8.items()
        ),
    )
    yield from files(
        "character",
        [
            ("undeclared-latin", "encoding_mismatch", lambda t: after(_without_header(t), b"<PRENOM>", b"\xe9")),
            ("utf-8-character-fffe", "xml_malformed", in_name(b"\xef\xbf\xbe", encoding="UTF-8")),
            ("utf-8-character-ffff", "xml_malformed", in_name(b"\xef\xbf\xbf", encoding="UTF-8")),
            (
                "in-a-tag",
                "encoding_mismatch",
                lambda t: after(t.xml(encoding="UTF-8"), b"<DONNEES>", b"<\xff\xfe/>"),
            ),
        ],
    )
