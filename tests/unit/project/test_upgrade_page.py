"""docs/upgrade.md lists the role variables that the code refuses as renamed, with the same new names."""

from __future__ import annotations

import re

from ansible_collections.mde.offline.plugins.plugin_utils._roles.renamed import RENAMED

from tools.collection_tree import CHECKOUT


def test_the_page_lists_every_renamed_role_variable():
    page = (CHECKOUT / "docs" / "upgrade.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| role `\w+` \| `(\w+)` \| `(\w+)` \|$", page, re.M)) == RENAMED
