"""The project's own files agree with each other: environments, documents, links."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[1]
CONDA_NAMES = {
    "torch": "pytorch",
    "xxhash": "python-xxhash",
    "matplotlib": "matplotlib-base",
    "snakemake": "snakemake-minimal",
}


def requirements() -> set[str]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {re.match(r"[A-Za-z0-9-]+", line)[0] for line in project["dependencies"]}


@pytest.mark.parametrize("name", ["cpu.yaml", "gpu.yaml"])
def test_a_conda_environment_holds_every_requirement(name):
    content = yaml.safe_load((PROJECT / "envs" / name).read_text(encoding="utf-8"))
    flat = [
        item
        for entry in content["dependencies"]
        for item in (entry["pip"] if isinstance(entry, dict) else [entry])
    ]
    names = {re.match(r"[A-Za-z0-9-]+", line)[0] for line in flat if not line.startswith("-e")}
    for wanted in requirements():
        conda = CONDA_NAMES.get(wanted, wanted)
        assert any(n == conda or n.startswith(f"{conda}-") for n in names), wanted


def test_every_requirement_is_pinned_among_the_versions_tested_together():
    pinned = {
        line.partition("==")[0].lower()
        for line in (PROJECT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    assert {name.lower() for name in requirements()} <= pinned


def test_the_container_copies_files_that_exist():
    text = (PROJECT / "envs" / "apptainer.def").read_text(encoding="utf-8")
    section = text.partition("%files")[2].partition("%post")[0]
    copied = [line.split()[0] for line in section.splitlines() if line.strip()]
    assert copied
    assert all((PROJECT / name).exists() for name in copied)


@pytest.mark.parametrize(
    "document",
    sorted(p.relative_to(PROJECT) for p in [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")]),
    ids=str,
)
def test_local_links_of_a_document_lead_somewhere(document):
    text = (PROJECT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (PROJECT / document.parent / target).exists(), target


def test_every_test_that_the_documents_name_exists():
    tests = list((PROJECT / "tests").rglob("*.py"))
    defined = {n for p in tests for n in re.findall(r"def (test_\w+)", p.read_text("utf-8"))}
    for document in [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")]:
        text = document.read_text(encoding="utf-8")
        assert set(re.findall(r"`(test_\w+_\w+_\w+)`", text)) <= defined, document
        for path in re.findall(r"tests/[\w/]+\.py", text):
            assert (PROJECT / path).exists(), f"{document}: {path}"


def test_the_example_of_the_readme_loads_and_sync_can_download_its_catalogues(tmp_path):
    from clusterscan.catalogs.published import LAYOUTS
    from clusterscan.config.load import load_config

    example = re.search(r"```yaml\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)[1]
    (tmp_path / "my.yaml").write_text(example, encoding="utf-8")
    config = load_config([tmp_path / "my.yaml"])
    assert config.scanned() == [("unwise", "resnet18"), ("unwise", "filter")]
    assert all(LAYOUTS[catalogue.kind].remote for catalogue in config.catalogs)
