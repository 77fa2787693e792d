"""Well-formed or not, but of a size or a shape that no export has: what costs a reader time or memory.

Those that a reader could take in whole end without their last byte, so that none of them may be accepted.
"""

from collections.abc import Callable, Iterator

from cpro_test_support.hostile_files.hostile_file import HostileFile, Make, Row, Target, after, files, noise, swapped
from cpro_test_support.siecle_samples import zipped

_MILLION = 1_000_000
_SHORT_PUPIL = b"<ELEVE ELEVE_ID='1'><PRENOM>A</PRENOM><DATE_NAISS>1</DATE_NAISS></ELEVE>"
_GIANT = 6 * _MILLION


def _at(mark: bytes, added: Callable[[], bytes]) -> Make:
    """A good export with something more behind a tag."""
    return lambda target: after(target.xml(), mark, added())


def _cut(mark: bytes, added: Callable[[], bytes]) -> Make:
    """The same, without its last end tag."""
    return lambda target: _endless(after(target.xml(), mark, added()))


def _endless(content: bytes) -> bytes:
    return content.rstrip().removesuffix(b"</BEE_ELEVES>")


def _in_content(added: Callable[[], bytes]) -> Make:
    return _at(b"<DONNEES>", lambda: b"<X><Y>" + added() + b"</Y></X>")


def _among_pupils(added: Callable[[], bytes]) -> Make:
    return _at(b"<ELEVES>", lambda: b"<X><Y>" + added() + b"</Y></X>")


def _nested(levels: int) -> Callable[[], bytes]:
    return lambda: b"<a>" * levels + b"</a>" * levels


def _attributes(count: int) -> Callable[[], bytes]:
    return lambda: b"<a " + b" ".join(b"b%d=''" % index for index in range(count)) + b"/>"


def _long_pupils(count: int, length: int) -> Callable[[], bytes]:
    """Pupils that are each just small enough, whose texts add up."""
    pupil = b"<ELEVE><NOM_DE_FAMILLE>" + b"x" * length + b"</NOM_DE_FAMILLE></ELEVE>"
    return lambda: pupil * count


def _many_divisions(pupils: int, each: int) -> Callable[[], bytes]:
    structure = b"<STRUCTURE><TYPE_STRUCTURE>D</TYPE_STRUCTURE><CODE_STRUCTURE>%d</CODE_STRUCTURE></STRUCTURE>"
    one = b"<STRUCTURES_ELEVE>" + b"".join(structure % index for index in range(each)) + b"</STRUCTURES_ELEVE>"
    return lambda: one * pupils


def _below_the_ratio(target: Target) -> bytes:
    """As many elements as before, with as much noise as makes the archive plausible."""
    elements = b"<!--" + noise(20_000, 31).hex().encode() + b"--><X>" + b"<a/>" * _MILLION + b"</X>"
    return zipped({"a.xml": _endless(after(target.xml(), b"<DONNEES>", elements))})


def _prefixes(count: int) -> bytes:
    return b" ".join(b'xmlns:n%d="u%d"' % (index, index) for index in range(count))


def _many_prefixes(target: Target) -> bytes:
    content = swapped(target.xml(), b"<BEE_ELEVES ", b"<BEE_ELEVES " + _prefixes(2_500) + b" ")
    return _endless(after(content, b"<DONNEES>", b"<X>" + b"<n2499:a/>" * 300_000 + b"</X>"))


def _long_accented_names(target: Target) -> bytes:
    pupil = "<ELEVE><PRENOM>" + "é" * 200_000 + "\N{GRINNING FACE}</PRENOM></ELEVE>"
    return _endless(after(target.xml(encoding="UTF-8"), b"<ELEVES>", pupil.encode() * 80))


def _root_too_long(target: Target) -> bytes:
    return swapped(target.xml(), b"<BEE_ELEVES ", b"<BEE_ELEVES " + _prefixes(20_000) + b" ")


def _namespaced(target: Target) -> bytes:
    return swapped(target.xml(), b"<BEE_ELEVES ", b'<BEE_ELEVES xmlns="urn:x" ')


def _prefixed_content(target: Target) -> bytes:
    content = target.xml().replace(b"<ELEVES>", b'<x:ELEVES xmlns:x="urn:x">').replace(b"</ELEVES>", b"</x:ELEVES>")
    return content.replace(b"<ELEVE ", b"<x:ELEVE xmlns:x='urn:x' ").replace(b"</ELEVE>", b"</x:ELEVE>")


def _behind(added: Callable[[], bytes]) -> Make:
    return lambda target: target.xml() + added()


_OVERSIZED: tuple[Row, ...] = (
    ("name", "xml_oversized_element", _at(b"<NOM_DE_FAMILLE>", lambda: b"x" * _GIANT)),
    ("name-of-a-megabyte", "xml_oversized_element", _at(b"<NOM_DE_FAMILLE>", lambda: b"x" * _MILLION)),
    ("text-in-a-block", "xml_oversized_element", _at(b"<ELEVES>", lambda: b"x" * _GIANT)),
    ("blanks-in-a-block", "xml_oversized_element", _at(b"<ELEVES>", lambda: b" " * _GIANT)),
    ("blank-lines-in-the-content", "xml_oversized_element", _at(b"<DONNEES>", lambda: b"\r\n" * (_GIANT // 2))),
    ("character-data", "xml_oversized_element", _in_content(lambda: b"<![CDATA[" + b"<" * _GIANT + b"]]>")),
    ("many-character-data", "xml_oversized_element", _in_content(lambda: b"<![CDATA[]]>" * 500_000)),
    ("references", "xml_oversized_element", _in_content(lambda: b"&#65;" * _MILLION)),
    ("ampersands", "xml_oversized_element", _in_content(lambda: b"&amp;" * _MILLION)),
    ("comment", "xml_oversized_element", _in_content(lambda: b"<!--" + b"x" * _GIANT + b"-->")),
    ("many-comments", "xml_oversized_element", _in_content(lambda: b"<!---->" * _MILLION)),
    ("comments-between-pupils", "xml_oversized_element", _at(b"<ELEVES>", lambda: b"<!---->" * _MILLION)),
    ("instruction", "xml_oversized_element", _in_content(lambda: b"<?a " + b"x" * _GIANT + b"?>")),
    ("many-instructions", "xml_oversized_element", _in_content(lambda: b"<?a?>" * _MILLION)),
    ("tag", "xml_oversized_element|xml_malformed", _in_content(lambda: b"<" + b"x" * _GIANT + b"/>")),
    ("tag-of-60-kilobytes", "xml_malformed", _in_content(lambda: b"<" + b"x" * 60_000 + b"/>")),
    ("attribute", "xml_oversized_element", _in_content(lambda: b"<a b='" + b"x" * _GIANT + b"'/>")),
    ("attribute-name", "xml_oversized_element|xml_malformed", _in_content(lambda: b"<a " + b"x" * _GIANT + b"='1'/>")),
    ("key", "xml_oversized_element", _at(b'ELEVE_ID="', lambda: b"1" * _GIANT)),
    ("many-attributes", "xml_oversized_element", _in_content(_attributes(_MILLION))),
    ("blanks-in-a-tag", "xml_oversized_element", _in_content(lambda: b"<a" + b" " * _GIANT + b"/>")),
    ("prefixes", "xml_oversized_element", _in_content(lambda: b"<a " + _prefixes(200_000) + b"/>")),
    ("children-of-a-pupil", "xml_oversized_element", _at(b"<DATE_NAISS>", lambda: b"<a/>b" * 400_000)),
    ("children-with-attributes", "xml_oversized_element", _among_pupils(lambda: b"<a b='' c='' d=''/>" * 100_000)),
    ("siblings-below-a-record", "xml_oversized_element", _among_pupils(lambda: b"<a/>" * _MILLION)),
    ("comment-behind-the-root", "xml_oversized_element", _behind(lambda: b"<!--" + b"x" * _GIANT + b"-->")),
    ("comments-behind-the-root", "xml_oversized_element", _behind(lambda: b"<!---->" * _MILLION)),
    ("blanks-behind-the-root", "xml_oversized_element", _behind(lambda: b"\n" * _GIANT)),
    ("comment-before-the-root", "xml_malformed", _at(b"?>\n", lambda: b"<!--" + b"x" * _GIANT + b"-->")),
    ("blanks-before-the-root", "xml_malformed", _at(b"?>\n", lambda: b"\n" * _GIANT)),
    ("instructions-before-the-root", "xml_malformed", _at(b"?>\n", lambda: b"<?a?>" * _MILLION)),
    ("blanks-alone", "empty_file", lambda _: b" \r\n" * 2 * _MILLION),
    ("nul-alone", "empty_file", lambda _: b"\x00" * _GIANT),
    ("root", "xml_malformed", _root_too_long),
    ("version", "xml_malformed", _at(b'VERSION="', lambda: b"3" * _GIANT)),
    ("zipped-comment", "xml_oversized_element",
        lambda t: zipped({"a.xml": _in_content(lambda: b"<!--" + noise(_GIANT // 4, 30).hex().encode())(t)})),
)  # fmt: skip
_MANY: tuple[Row, ...] = (
    ("elements-in-a-block", "xml_malformed", _cut(b"<DONNEES>", lambda: b"<X>" + b"<a/>" * _MILLION + b"</X>")),
    ("blocks", "xml_malformed", _cut(b"<DONNEES>", lambda: b"<a/>" * _MILLION)),
    ("parts", "xml_malformed", _cut(b"</PARAMETRES>", lambda: b"<a/>" * 600_000)),
    ("roots-inside", "xml_malformed", _cut(b"<DONNEES>", lambda: b"<X>" + b"<BEE_ELEVES/>" * 600_000 + b"</X>")),
    ("roots-around-records", "xml_malformed",
        _cut(b"<DONNEES>", lambda: b"<X>" + b"<BEE_ELEVES><a/></BEE_ELEVES>" * 300_000 + b"</X>")),
    ("names-of-tags", "xml_malformed",
        _cut(b"<DONNEES>", lambda: b"<X>" + b"".join(b"<a%d/>" % i for i in range(500_000)) + b"</X>")),
    ("names-of-attributes", "xml_malformed",
        _cut(b"<DONNEES>", lambda: b"<X>" + b"".join(b"<a b%d=''/>" % i for i in range(500_000)) + b"</X>")),
    ("names-that-fill-the-dictionary", "xml_malformed",
        _cut(b"<DONNEES>", lambda: b"<X>" + b"".join(b"<a%0200d/>" % i for i in range(80_000)) + b"</X>")),
    ("declared-prefixes", "xml_malformed",
        _cut(b"<DONNEES>", lambda: b"<X>" + b"<n:a xmlns:n='u'/>" * 300_000 + b"</X>")),
    ("prefixes-on-the-root", "xml_malformed", _many_prefixes),
    ("empty-pupils", "xml_oversized_element", _cut(b"<ELEVES>", lambda: b"<ELEVE/>" * _MILLION)),
    ("empty-structures", "xml_oversized_element", _cut(b"<STRUCTURES>", lambda: b"<STRUCTURES_ELEVE/>" * 500_000)),
    ("short-pupils", "xml_malformed", _cut(b"<ELEVES>", lambda: _SHORT_PUPIL * 60_000)),
    ("elements-zipped-below-the-ratio", "xml_malformed", _below_the_ratio),
    ("long-names", "xml_malformed", _cut(b"<ELEVES>", _long_pupils(200, 450_000))),
    ("long-accented-names", "xml_malformed", _long_accented_names),
    ("divisions-of-a-pupil", "xml_malformed", _cut(b"<STRUCTURES>", _many_divisions(20, 5_000))),
    ("records-with-many-children", "xml_malformed",
        _cut(b"<DONNEES>", lambda: (b"<X><Y>" + b"<a/>b" * 80_000 + b"</Y></X>") * 12)),
    ("texts-between-records", "xml_malformed",
        _cut(b"<DONNEES>", lambda: b"<X>" + (b"x" * 200_000 + b"<a/>") * 100 + b"</X>")),
    ("texts-between-parts", "xml_malformed",
        _cut(b"</PARAMETRES>", lambda: (b"x" * 200_000 + b"<a/>") * 100)),
)  # fmt: skip
_DEEP: tuple[Row, ...] = (
    ("200-levels-without-end", "xml_malformed", _cut(b"<DONNEES>", _nested(200))),
    ("200-levels-instead-of-pupils", "no_pupil",
        lambda t: after(t.xml(pupils=[]), b"<ELEVES>", _nested(200)())),
    ("10-000-levels", "xml_oversized_element", _at(b"<DONNEES>", _nested(10_000))),
    ("100-000-levels", "xml_malformed|xml_oversized_element", _at(b"<DONNEES>", _nested(100_000))),
    ("100-000-levels-of-the-root", "xml_oversized_element", lambda _: b"<BEE_ELEVES>" * 100_000),
    ("million-levels-never-closed", "xml_malformed|xml_oversized_element", _at(b"<ELEVES>", lambda: b"<a>" * _MILLION)),
    ("levels-of-pupils", "xml_malformed", _at(b"<ELEVES>", lambda: b"<ELEVE>" * 50_000)),
    ("levels-in-attributes", "xml_oversized_element", _at(b"<DONNEES>", lambda: b"<a b='c'>" * 50_000)),
    ("many-trees-of-200-levels", "xml_malformed", _cut(b"<DONNEES>", lambda: (_nested(200)()) * 1_000)),
)  # fmt: skip
_SPACES: tuple[Row, ...] = (
    ("root-in-a-namespace", "wrong_kind_of_file", _namespaced),
    ("root-with-a-prefix", "wrong_kind_of_file",
        lambda t: t.xml().replace(b"<BEE_ELEVES ", b'<x:BEE_ELEVES xmlns:x="u" ').replace(b"</BEE", b"</x:BEE")),
    ("pupils-in-a-namespace", "no_pupil", _prefixed_content),
    ("prefix-unknown", "xml_malformed", lambda t: after(t.xml(), b"<DONNEES>", b"<inconnu:a/>")),
    ("prefix-of-an-attribute-unknown", "xml_malformed", lambda t: after(t.xml(), b"<DONNEES>", b"<a inconnu:b='c'/>")),
    ("prefix-emptied", "xml_malformed", lambda t: after(t.xml(), b"<DONNEES>", b"<a xmlns:b=''/>")),
)  # fmt: skip


def sizes() -> Iterator[HostileFile]:
    """See the module."""
    yield from files("oversized", _OVERSIZED)
    yield from files("many", _MANY)
    yield from files("deep", _DEEP)
    yield from files("namespace", _SPACES)
