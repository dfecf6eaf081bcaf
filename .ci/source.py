"""Rust sources as the gates see them: without the tests, and without comments and strings."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent

# One token at a time, so that braces in comments, strings and characters are not counted.
TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
      | (?P<text>[bc]?r(?P<hashes>\#*)".*?"(?P=hashes) | [bc]?"(?:\\.|[^"\\])*" | b?'(?:\\[^\n]+?|[^'\\\n])')
      | (?P<code>.)""",
    re.DOTALL | re.VERBOSE,
)
TEST_MODULE = re.compile(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([^)]*\))?\s+)?mod\s+\w+\s*\{")


def sources(*folders):
    """Every .rs file below the folders of the repository, sorted."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.rs")):
            if "target" not in path.relative_to(ROOT).parts:
                yield path


def is_test_file(path):
    """Unit tests beside the code (tests.rs, tests/), benchmarks and examples."""
    folders = path.relative_to(ROOT).parts[1:-1]
    return path.name == "tests.rs" or not {"tests", "benches", "examples"}.isdisjoint(folders)


def blank(text):
    """The text with comments and literals turned to blanks, line breaks kept."""

    def keep_lines(match):
        if match["code"] is not None:
            return match["code"]
        return re.sub(r"[^\n]", " ", match[0])

    return TOKEN.sub(keep_lines, text)


def without_tests(text):
    """(code, lines left out): the code blanked as above, test modules removed."""
    code, removed = blank(text), 0
    while module := TEST_MODULE.search(code):
        end = closing_brace(code, module.end())
        removed += code.count("\n", module.start(), end) + 1
        code = code[: module.start()] + code[end:]
    return code, removed


def closing_brace(code, position):
    """The position after the brace that closes the block open at `position`."""
    depth = 1
    while depth and position < len(code):
        depth += {"{": 1, "}": -1}.get(code[position], 0)
        position += 1
    return position
