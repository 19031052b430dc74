"""Refuses words that this project does not use in comments, documentation, messages and names.

usage: wording.py [FILE...]   (default: all files of the checkout)

Each rule names a better word. CONTRIBUTING.md describes how this project writes.
"""

from __future__ import annotations

import bisect
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from collection_tree import CHECKOUT, checkout_files

# Files that name the refused words on purpose, or whose text is not ours.
EXEMPT = ("LICENSE", "tools/wording.py", "tests/unit/project/test_wording.py")
TEXT_FILE = re.compile(r"\.(?:cfg|css|html|j2|js|json|md|ps1|py|rst|sh|toml|ya?ml)$|(?:^|/)\.?[^./]+$")

# A finding: line number, the text that was found, the better word.
Hit = tuple[int, str, str]


@dataclass(frozen=True)
class Rule:
    """A refused wording: a pattern for prose, single words for identifiers, and what to write instead."""

    id: str
    better: str
    prose: re.Pattern[str]
    names: frozenset[str] = field(default_factory=frozenset)


def _rule(id_: str, better: str, prose: str | None = None, names: str = "", flags: int = re.IGNORECASE) -> Rule:
    return Rule(id_, better, re.compile(prose or rf"\b{id_}\b", flags), frozenset(names.split()))


# Comparatives and fixed phrases after "is no" are ordinary English.
_AFTER_IS_NO = (
    r"longer|more|less|fewer|better|worse|different|other|such|need|newer|older|later|earlier|higher|lower|way"
)

RULES = (
    _rule("told", "reported, logged, shown, given", r"(?<!unless )\btold\b(?! (?:apart|from)\b)", names="told"),
    _rule("stranger", "another user, another process, unknown", r"\bstrangers?\b", names="stranger strangers"),
    _rule("mend", "repair, fix", r"\bmend(?:s|ed|ing)?\b", names="mend mends mended mending"),
    _rule("astray", "stale, unexpected", names="astray"),
    _rule("shelf", "pool, store", r"\b(?:shelf|shelves)\b", names="shelf shelves"),
    _rule("card", "metadata, record", r"\bcards?\b", names="card cards"),
    _rule("scraps", "leftovers, temporary files", names="scraps"),
    _rule("disown", "discard", r"\bdisown(?:s|ed|ing)?\b", names="disown disowned"),
    _rule("glance", "read, check", r"\bglances?\b", names="glance"),
    _rule("foreseen", "predicted, expected", names="foreseen"),
    _rule("door", "entry point, interface", r"\bdoors?\b", names="door doors"),
    _rule("papers", "documents", names="papers"),
    _rule("shall", "must, should, is to"),
    _rule("tells of", "describes, lists, reports", r"\btells? of\b"),
    _rule("of ours", "our own, this collection's", r"\bof (?:ours|theirs)\b"),
    _rule("stands", "is, occurs, is listed", r"\bstands? (?:in(?! for\b)|there|twice|once|beside|below)\b"),
    _rule(
        "is no",
        "is not a",
        rf"\b(?<!there )(?:is|are|was|were) no (?!(?:{_AFTER_IS_NO})\b)[a-z]\w*",
    ),
    _rule("except from", "exclude, bypass", r"\bExcept(?: \S+){1,5} from\b", flags=0),
    _rule("behind", "lag, delay; after", r"\b(?:its|the|a|no) behind\b|\bbehind (?:its|the|an?) end\b"),
)


class Prose:
    """The words of a text with their lines; each run of whitespace becomes one space, so patterns span lines."""

    def __init__(self) -> None:
        self.lines: list[int] = []
        self._starts: list[int] = []
        self._words: list[str] = []
        self._length = 0

    def add(self, text: str, line: int) -> None:
        for number, content in enumerate(text.splitlines(), line):
            # The marks of a comment at the beginning of a line do not interrupt a sentence.
            for word in re.sub(r"^\s*(?:#+|//)(?=\s|$)", "", content).split():
                self._starts.append(self._length)
                self.lines.append(number)
                self._words.append(word)
                self._length += len(word) + 1

    def end_sentence(self) -> None:
        """Keeps the text before and after from being read as one sentence."""
        self.add("|", self.lines[-1] if self.lines else 1)

    def hits(self) -> Iterator[Hit]:
        text = " ".join(self._words)
        for rule in RULES:
            for found in rule.prose.finditer(text):
                yield self.lines[bisect.bisect_right(self._starts, found.start()) - 1], found.group(), rule.better


def name_hits(name: str, line: int) -> Iterator[Hit]:
    words = set(re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name.replace("_", " ")))
    lowered = {word.lower() for word in words}
    for rule in RULES:
        if lowered & rule.names:
            yield line, name, rule.better


def python_hits(source: str) -> list[Hit]:
    """Hits in the comments, the strings with a space in them, and the identifiers of a Python file."""
    prose, names = Prose(), []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind, line = tokenize.tok_name[token.type], token.start[0]
        if kind == "NAME":
            names += list(name_hits(token.string, line))
        elif kind == "COMMENT" or (kind in ("STRING", "FSTRING_MIDDLE") and " " in token.string.strip()):
            prose.add(token.string, line)
        elif kind not in ("NL", "FSTRING_START", "FSTRING_END"):
            prose.end_sentence()
    return [*prose.hits(), *names]


def text_hits(source: str) -> list[Hit]:
    """Hits in any other text: prose and identifiers alike."""
    prose, names = Prose(), []
    prose.add(source, 1)
    for number, line in enumerate(source.splitlines(), 1):
        for name in re.findall(r"\w*[a-z]_\w+|_+[a-z]\w+", line):
            names += list(name_hits(name, number))
    return [*prose.hits(), *names]


def hits_in(path: Path) -> list[Hit]:
    source = path.read_text(encoding="utf-8", errors="replace")
    return sorted(python_hits(source) if path.suffix == ".py" else text_hits(source))


def checked_files() -> list[str]:
    def checked(name: str) -> bool:
        excluded = name in EXEMPT or (CHECKOUT / name).is_symlink()
        return not excluded and TEXT_FILE.search(name) is not None

    return [name for name in checkout_files() if checked(name)]


def main(names: Iterable[str]) -> int:
    found = False
    for name in names or checked_files():
        for line, text, better in hits_in(CHECKOUT / name):
            found = True
            print(f"{name}:{line}: {text!r}: write {better}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
