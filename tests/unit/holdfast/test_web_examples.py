"""What examples/web has in common with the documents."""

from __future__ import annotations

from tests.support.documents import block
from tests.support.process import ROOT


def test_the_hook_of_the_ai_sdk_is_that_of_its_document() -> None:
    hook = (ROOT / "examples" / "web" / "resumable-chat.js").read_text()
    assert hook == block("docs/dialects/ai-sdk.md", "useResumableChat")
