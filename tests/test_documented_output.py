"""What the documentation shows is what the commands print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("softmax", "glm", "logistic")
BLOCK = re.compile(r"```console\n\$ cmpt726 (?P<arguments>.*)\n(?P<output>[\s\S]*?)\n```")


def tidy(text):
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


@pytest.mark.parametrize("page", PAGES)
def test_blocks_are_current(cmpt726, page):
    blocks = list(BLOCK.finditer((DOCS / f"{page}.md").read_text()))
    assert blocks
    for block in blocks:
        assert tidy(cmpt726(*shlex.split(block["arguments"])).stdout) == block["output"]
