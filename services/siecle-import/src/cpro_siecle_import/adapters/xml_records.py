"""Cut the records out of an XML document as it streams by, without ever building a tree of it.

Two parts that trust each other. libxml2 reads every byte (`WellFormedText`) and is the only judge of what is XML: it
refuses whatever is malformed, builds nothing, and runs one chunk ahead in a thread of its own. What it has passed is
cut into records by its tags (`RecordCutter`), which is exact for two reasons: in a well-formed document without
comments, CDATA sections and processing instructions a `<` begins a tag and nothing else, also inside attribute values;
and those three are taken out first (`PlainMarkup`), where their own rules hold.

So nothing here has to be lenient, and nothing may be: a test holds it to lxml's tree over generated documents.
Names are compared as they are written: a prefix is part of the name, a default namespace is not.
"""

import codecs
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from lxml import etree

# Possessive throughout: a tag that never ends is given up in one pass over it.
_TAG_REST = r"""(?:[^<>"'/]++|/(?!>)|"[^"<]*+"|'[^'<]*+')*+"""
_TAG = re.compile(rf"<(/?)([^\s/<>]++)({_TAG_REST})(/?)>")
_ATTRIBUTE = re.compile(r"""([^\s=/]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_REFERENCE = re.compile(r"&(?:#x([0-9a-fA-F]+)|#([0-9]+)|(\w+));")
_PREDEFINED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}
_ESCAPES = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}
_SPECIAL = re.compile(r"<!--|<!\[CDATA\[|<\?")
_ENDS = {"<!--": "-->", "<![CDATA[": "]]>", "<?": "?>"}
_LONGEST_NAME, _DEEPEST = 1_000, 250
_LONGEST_START = len("<![CDATA[")
_AFTER_NAME = frozenset(" \t\r\n/>")


class MalformedXmlError(Exception):
    """Not well-formed, from this line on (1 where libxml2 doesn't say). `code` is libxml2's own number of the error."""

    def __init__(self, code: int, line: int) -> None:
        super().__init__(code, line)
        self.code = code
        self.line = line


class _NoTree:
    """The target of a parser that only judges: libxml2 calls nothing and keeps nothing."""

    def close(self) -> None:
        """Called at the end of the document; there is nothing to hand over."""


class WellFormedText:
    """The text of a document, chunk by chunk, each given once libxml2 has passed it but for a tag at its end.

    Who stumbles over what is given may be ahead of libxml2 by that tag: iterate to the end for its verdict. No entity
    is resolved, nothing is fetched, no DTD is read, and libxml2's own limits stay in force.

    Raises, while it is iterated:
        MalformedXmlError: the document is not well-formed; what was given before it must be forgotten.
    """

    def __init__(self, chunks: Iterator[bytes], encoding: str) -> None:
        self._chunks = chunks
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._parser = etree.XMLParser(
            target=_NoTree(),  # type: ignore[arg-type]  # every other method of a target may be left out
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            dtd_validation=False,
            attribute_defaults=False,
            huge_tree=False,
            recover=False,
        )

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self._passed()
        except etree.XMLSyntaxError as error:
            raise MalformedXmlError(int(getattr(error, "code", 0)), error.lineno or 1) from error

    def _passed(self) -> Iterator[str]:
        # Reading, unpacking and judging are the other thread's: most of it happens outside the interpreter.
        with ThreadPoolExecutor(1, thread_name_prefix="well-formed") as judge:
            chunk = self._judged()
            while chunk:
                following = judge.submit(self._judged)
                try:
                    yield self._decoder.decode(chunk)
                except UnicodeDecodeError:
                    # libxml2 looks at a tag once it is complete: let it say what is wrong.
                    while following.result():
                        following = judge.submit(self._judged)
                    raise
                chunk = following.result()
        # Prefixes that are not declared, and the like: without a tree libxml2 notes them and goes on.
        for noted in self._parser.feed_error_log:
            raise MalformedXmlError(noted.type, noted.line)
        yield self._decoder.decode(b"", final=True)

    def _judged(self) -> bytes:
        """The next chunk, passed; empty at the end of a document that is complete."""
        chunk = next(self._chunks, b"")
        if chunk:
            self._parser.feed(chunk)
        else:
            self._parser.close()
        return chunk


class PlainMarkup:
    """Takes comments and processing instructions out of the text, and writes CDATA sections as escaped text.

    Line ends inside them stay, so that lines can still be counted.
    """

    def __init__(self) -> None:
        self._rest = ""
        self._inside: str | None = None

    def feed(self, text: str) -> str:
        """The plain text of what is complete; the rest waits for the next call."""
        if self._rest:
            text = self._rest + text
            self._rest = ""
        # One character is looked for many times faster than two.
        if self._inside is None and "!" not in text and "?" not in text:
            return self._hold_back(text)
        return "".join(self._parts(text))

    def _hold_back(self, text: str) -> str:
        """A `<` among the last characters may turn out to begin any of the three."""
        at = text.rfind("<", -_LONGEST_START)
        if at < 0 or not any(start.startswith(text[at:]) for start in _ENDS):
            return text
        self._rest = text[at:]
        return text[:at]

    def _parts(self, text: str) -> Iterator[str]:
        position = 0
        while True:
            if self._inside is None:
                found = _SPECIAL.search(text, position)
                if found is None:
                    yield self._hold_back(text[position:])
                    return
                yield text[position : found.start()]
                self._inside, position = found.group(), found.end()
            end = text.find(_ENDS[self._inside], position)
            if end < 0:
                # All but what may be the first characters of the end.
                end = max(position, len(text) - 2)
                self._rest = text[end:]
                yield self._content(text[position:end])
                return
            yield self._content(text[position:end])
            position = end + 3 - (self._inside == "<?")
            self._inside = None

    def _content(self, text: str) -> str:
        if self._inside == "<![CDATA[":
            return text.translate(_ESCAPES)
        return "\n" * text.count("\n")


@dataclass(slots=True)
class Element:
    """An element with what it holds. `text` is what comes before its first child, as it is written."""

    tag: str
    attributes: Mapping[str, str]
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def child_text(self, tag: str) -> str | None:
        """The text of the first child of that name."""
        return next((child.text for child in self.children if child.tag == tag), None)


class Record(NamedTuple):
    """One element as it is written, and the line on which it begins."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """Records of one kind that follow each other; `path` are the names from below the root to the record's own."""

    path: tuple[str, ...]
    records: list[Record]


_NOTHING = Stretch((), [])


class RecordCutter:
    """Finds the elements at the wanted paths below the root. Everything else goes by and is forgotten.

    One container holds one kind of wanted element.

    `longest` is how many characters may wait for the end of one element or tag; more are refused by raising what
    `oversized` makes of the line where it began.
    """

    def __init__(
        self, wanted: Collection[tuple[str, ...]], longest: int, oversized: Callable[[int], Exception]
    ) -> None:
        self._wanted = frozenset(wanted)
        self._containers = frozenset(path[:depth] for path in wanted for depth in range(len(path)))
        self._runs: dict[tuple[str, ...] | None, tuple[str, ...]] = {path[:-1]: path for path in wanted if path[:-1]}
        self._longest = longest
        self._oversized = oversized
        self._text = ""
        self._at = 0
        self._line = 1
        self._path: tuple[str, ...] | None = None
        """Open elements below the root, all of them containers; None before the root."""
        self._skipped: str | None = None
        self._skipped_depth = self._skipped_levels = self._skipped_length = 0

    def feed(self, text: str) -> Iterator[Stretch]:
        """The records that end in this text."""
        self._text, self._at = self._text[self._at :] + text, 0
        while self._skip() and (found := self._next()):
            if found.records:
                yield found
        if len(self._text) - self._at > self._longest:
            raise self._oversized(self._line)

    def _next(self) -> Stretch | None:
        """What comes next: some records, or an empty stretch for a tag passed; None when more text is needed."""
        run = self._runs.get(self._path)
        stretch = self._run_of_records(run) if run else None
        if stretch is not None:
            return stretch
        tag = _TAG.search(self._text, self._at)
        return None if tag is None else self._take(tag)

    def _take(self, tag: re.Match[str]) -> Stretch | None:
        closing, name, _, empty = tag.groups()
        if not closing and self._path is not None:
            path = (*self._path, name)
            if path in self._wanted:
                return self._one_record(path, tag)
            if len(name) > _LONGEST_NAME:
                raise self._oversized(self._line)
            if path not in self._containers and not empty:
                self._skipped, self._skipped_depth, self._skipped_levels, self._skipped_length = name, 0, 0, 0
                return self._passed(tag.start(), _NOTHING)
            self._path = self._path if empty else path
        elif not closing:
            self._path = ()
        else:
            self._path = self._path[:-1] if self._path else None
        return self._passed(tag.end(), _NOTHING)

    def _one_record(self, path: tuple[str, ...], tag: re.Match[str]) -> Stretch | None:
        end = _end_of_element(self._text, tag)
        if end is None:
            return None
        self._move_to(tag.start())
        return self._passed(end, Stretch(path, [Record(self._line, self._text[tag.start() : end])]))

    def _run_of_records(self, path: tuple[str, ...]) -> Stretch | None:
        """The complete records that follow each other here, told apart by their closing tags alone.

        That is exact where a part up to a closing tag begins with an opening tag and no other opens in it. Where that
        does not hold, or something else comes between, it is for `_take` to look at one tag after the other.
        """
        text, at, line = self._text, self._at, self._line
        name = path[-1]
        opening, closing = f"<{name}", f"</{name}>"
        records: list[Record] = []
        while (begins := text.find("<", at)) >= 0 and text.startswith(opening, begins):
            inside = begins + len(opening)
            # Never beyond the next opening tag: whatever the records are, the text is looked through once.
            end = text.find(closing, inside, _next_opening(text, opening, inside))
            if end < 0 or text[inside] not in _AFTER_NAME:
                break
            end += len(closing)
            record = text[begins:end]
            line += text.count("\n", at, begins)
            records.append(Record(line, record))
            line += record.count("\n")
            at = end
        if not records:
            return None
        self._at, self._line = at, line
        return Stretch(path, records)

    def _skip(self) -> bool:
        """Pass what is left of an element that nobody wants. False when its end has not come yet."""
        if self._skipped is None:
            return True
        last = self._at
        for tag in _tags_named(self._skipped).finditer(self._text, self._at):
            self._skipped_depth += _step(tag)
            last = tag.end()
            if self._skipped_depth == 0:
                self._skipped = None
                self._move_to(last)
                return True
        # Nothing of it is kept, but a tag that is not complete.
        unfinished = self._text.rfind("<", last)
        complete = unfinished < 0 or _TAG.match(self._text, unfinished) is not None
        self._forget_up_to(len(self._text) if complete else unfinished)
        return False

    def _forget_up_to(self, end: int) -> None:
        start = self._at
        tags, closing = self._text.count("<", start, end), self._text.count("</", start, end)
        self._skipped_levels += tags - 2 * closing - self._text.count("/>", start, end)
        self._skipped_length += end - start
        # Beside records the length is bound like theirs; whole blocks may be of any length.
        too_long = self._path in self._runs and self._skipped_length > self._longest
        if self._skipped_levels > _DEEPEST or too_long:
            raise self._oversized(self._line)
        self._move_to(end)

    def _passed(self, end: int, stretch: Stretch) -> Stretch:
        self._move_to(end)
        return stretch

    def _move_to(self, position: int) -> None:
        self._line += self._text.count("\n", self._at, position)
        self._at = position


def leaves(record: str, nested: Iterable[str] = ()) -> tuple[dict[str, str], dict[str, str]] | None:
    """The children of a plain record by name: the texts of those with a text alone, the insides of the `nested` ones.

    Plain is a record of `<name>text</name>`, `<name/>` and, once at most of each name that is `nested`,
    `<name>…</name>` with children of its own. None where anything else is in it (children of children, attributes, a
    name twice): `parse` reads those. Texts are as they are written.
    """
    insides: dict[str, str] = {}
    for name in nested:
        opening, closing = f"<{name}>", f"</{name}>"
        start = record.find(opening)
        if start < 0:
            continue
        end = record.find(closing, start)
        inside = record[start + len(opening) : end]
        if end < 0 or _HOLE in inside:
            return None
        insides[name] = inside
        record = f"{record[:start]}{_HOLE}{record[end + len(closing) :]}"
    found = _LEAF.findall(record)
    texts = dict(found)
    empty = len(_EMPTY.findall(record)) if "/>" in record else 0
    # Every `<` of the record belongs to a leaf's two tags, to an empty tag or to its own two, and no hole is in a leaf:
    # so what was taken out were whole children of the record itself.
    if record.count("<") != 2 * len(texts) + empty + 2 or len(texts) != len(found):
        return None
    return texts, insides


_HOLE = "\0"  # which no XML can hold
_EMPTY = re.compile(r"<[^\s/<>]++\s*+/>")
_LEAF = re.compile(rf"<([^\s/<>]+)>([^<{_HOLE}]*)</")


def parse(record: str) -> Element:
    """The record as a small tree, whatever it holds; references are still references in its texts."""
    root = Element("", {})
    open_elements = [root]
    position = 0
    for tag in _TAG.finditer(record):
        parent = open_elements[-1]
        if not parent.children:
            parent.text += record[position : tag.start()]
        position = tag.end()
        closing, name, attributes, empty = tag.groups()
        if closing:
            open_elements.pop()
            continue
        element = Element(name, {key: double or single for key, double, single in _ATTRIBUTE.findall(attributes)})
        parent.children.append(element)
        if not empty:
            open_elements.append(element)
    return root.children[0]


def unescaped(text: str) -> str:
    """The text that these references stand for. libxml2 has passed them: there are no others than XML's own."""
    return _REFERENCE.sub(_referred, text) if "&" in text else text


def _referred(reference: re.Match[str]) -> str:
    hexadecimal, decimal, name = reference.groups()
    if name is not None:
        return _PREDEFINED[name]
    return chr(int(hexadecimal, 16) if hexadecimal is not None else int(decimal))


def _end_of_element(text: str, start: re.Match[str]) -> int | None:
    """Where the element ends that begins with this tag; None if its end is not in the text."""
    depth = 0
    for tag in _tags_named(start[2]).finditer(text, start.start()):
        depth += _step(tag)
        if depth == 0:
            return tag.end()
    return None


def _step(tag: re.Match[str]) -> int:
    closing, empty = tag.groups()
    return -1 if closing else 0 if empty else 1


def _next_opening(text: str, opening: str, start: int) -> int:
    """Where the next tag begins that opens with just this name; the end of the text where none does."""
    while (start := text.find(opening, start)) >= 0:
        start += len(opening)
        if start >= len(text) or text[start] in _AFTER_NAME:
            return start - len(opening)
    return len(text)


@lru_cache(maxsize=64)
def _tags_named(name: str) -> re.Pattern[str]:
    return re.compile(rf"<(/?){re.escape(name)}(?=[\s/>]){_TAG_REST}(/?)>")
