"""The measures stand on their own: every stage may use them, they use none."""

import ast
from pathlib import Path

import clusterscan.measure

ALLOWED = ("clusterscan.measure", "clusterscan.core.errors", "clusterscan.config.base",
           "clusterscan.provenance")  # fmt: skip


def test_the_measures_import_no_stage():
    for file in Path(clusterscan.measure.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            for name in names:
                assert not name.startswith("clusterscan") or name.startswith(ALLOWED), (file, name)
