"""Whether the bytes are in the encoding that the XML header announces.

A school's editor may save the file in another encoding and leave the header: the names would be wrong without any
error. ISO-8859-15 accepts every byte, so its violations are found by what no real text in it contains.
"""

import codecs
import re

from cpro_siecle_import.domain import refusals
from cpro_siecle_import.domain.refusals import FileRefusedError

_DECLARATION = re.compile(rb"""\s*<\?xml\s[^>]*?encoding\s*=\s*["']([^"'>]{1,40})["']""")
_SINGLE_BYTE = {"iso8859-15", "iso8859-1"}
_UTF_8 = "utf-8"
# Control characters in the ISO-8859 family; letters and quotation marks in Windows-1252.
_C1_CONTROLS = bytes(range(0x80, 0xA0))
_WIDE_STARTS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE, b"<\x00", b"\x00<", b"\x00\x00")


class EncodingWatch:
    """Follows the bytes of one file beside the parser. Feed every chunk, then ask for the verdict."""

    def __init__(self, head: bytes) -> None:
        if head.startswith(_WIDE_STARTS):
            raise FileRefusedError(refusals.ENCODING_UNKNOWN, declared="UTF-16")
        marked = head.startswith(codecs.BOM_UTF8)
        found = _DECLARATION.match(head[len(codecs.BOM_UTF8) :] if marked else head)
        self.declared = found[1].decode("ascii", "replace") if found else None
        self.name = _normal(self.declared)
        """The encoding's own name, for Python's codecs."""
        if marked and self.name != _UTF_8:
            raise self._mismatch("en UTF-8")
        self._as_utf_8: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder(_UTF_8)()
        self._beyond_ascii = False
        self._controls = False

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes."""
        if chunk.isascii() and not self._beyond_ascii:
            return
        self._beyond_ascii = True
        if self._as_utf_8 is not None:
            try:
                self._as_utf_8.decode(chunk)
            except UnicodeDecodeError:
                self._as_utf_8 = None
        if not self._controls and self.name in _SINGLE_BYTE:
            # Several times faster than a search, on every byte of every file.
            self._controls = len(chunk.translate(None, _C1_CONTROLS)) < len(chunk)

    def verdict(self) -> None:
        """Say so if the bytes are not what the header says.

        Raises:
            FileRefusedError: they are in UTF-8 or Windows-1252 under a header that says ISO-8859.
        """
        if self.name not in _SINGLE_BYTE or not self._beyond_ascii:
            return
        if self._as_utf_8 is not None and not self._ends_inside_a_character():
            raise self._mismatch("en UTF-8")
        if self._controls:
            raise self._mismatch("en Windows-1252")

    def undecodable(self) -> FileRefusedError:
        """The refusal for a parser that met bytes impossible in the declared encoding."""
        return self._mismatch("dans un autre encodage")

    def _ends_inside_a_character(self) -> bool:
        assert self._as_utf_8 is not None
        try:
            self._as_utf_8.decode(b"", final=True)
        except UnicodeDecodeError:
            return True
        return False

    def _mismatch(self, actual: str) -> FileRefusedError:
        announced = (
            f"annonce l'encodage « {self.declared} »"
            if self.declared
            else "n'annonce aucun encodage (l'UTF-8 est alors attendu)"
        )
        return FileRefusedError(refusals.ENCODING_MISMATCH, announced=announced, actual=actual)


def _normal(declared: str | None) -> str:
    """The encoding's own name; without a declaration XML is in UTF-8.

    Raises:
        FileRefusedError: an encoding that no export has.
    """
    if declared is None:
        return _UTF_8
    try:
        name = codecs.lookup(declared).name
    except (LookupError, ValueError):
        name = ""
    if name == "ascii":
        return _UTF_8
    if name not in _SINGLE_BYTE | {_UTF_8}:
        raise FileRefusedError(refusals.ENCODING_UNKNOWN, declared=declared)
    return name
