"""Documents tell the truth: paths exist, generated pages are fresh, every code is explained."""

import re
from pathlib import Path

import pytest

from messenger.reference import pages
from messenger.wire.codes import CloseCode, ErrorCode, UnsubscribeCode
from tests.architecture.tree import ROOT, files, name

KINDS = "py|md|toml|lua|txt|html|css|js|proto"
IN_CODE = re.compile(rf"`([A-Za-z0-9_.\-]+(?:/[A-Za-z0-9_.\-]+)*(?:/|\.(?:{KINDS})))`")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
ROOTS = (".", "messenger", "docs", "loadgen", "tests")
PROTOCOL = ROOT / "docs" / "protocol.md"
RUNTIME = {"codes.jsonl", "platform.json", "peyk.toml", "report.html", "secrets/", "redis/"}
"""Files that the platform or its user makes, so the repository has none."""


def exists(path: str, page_folder: Path) -> bool:
    places = [page_folder, *(ROOT / root for root in ROOTS)]
    return path.startswith(".peyk") or path in RUNTIME or any((p / path).exists() for p in places)


@pytest.mark.parametrize("document", files(".md"), ids=name)
def test_given_a_document_when_it_names_a_path_then_the_path_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    named = [*IN_CODE.findall(text), *LINK.findall(text)]

    assert [path for path in named if not exists(path, document.parent)] == []


@pytest.mark.parametrize(("path", "text"), pages().items(), ids=pages())
def test_given_declarations_when_their_page_is_generated_then_it_equals_the_one_kept(
    path: str, text: str
) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == text, "run `make docs`"


@pytest.mark.parametrize("code", [*ErrorCode, *CloseCode, *UnsubscribeCode], ids=str)
def test_given_a_code_when_looked_up_then_the_protocol_page_explains_it(
    code: ErrorCode | CloseCode | UnsubscribeCode,
) -> None:
    assert re.search(rf"\b{int(code)}\b", PROTOCOL.read_text(encoding="utf-8"))
