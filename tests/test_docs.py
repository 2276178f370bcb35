"""The documents tell the truth: what they name exists, and what exists is named."""

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest

from configs.make_glossary import page
from tests.house_laws import load

HOUSE = Path(__file__).parent.parent
DOCS = HOUSE / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), HOUSE / "README.md"])
TOPS = "gridmodel|protocols|hosting|edge_node|central_sync|simulate|configs|tests|docs|benchmarks|deploy"
NAMED_PATH = re.compile(rf"`((?:{TOPS}|\.ci)(?:/[\w.\-]+)+/?)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
CODE = re.compile(r"TQ-([A-Z]{2})-\d{2,3}")
TARGET = re.compile(r"^([a-z0-9]+):.*##", re.MULTILINE)
TARGETS_MAX = 15


def text(path: Path) -> str:
    return path.read_text("utf-8")


def relative(path: Path) -> str:
    return path.relative_to(HOUSE).as_posix()


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_every_path_that_a_page_names_exists(path: Path) -> None:
    missing = sorted({name for name in NAMED_PATH.findall(text(path)) if not (HOUSE / name).exists()})
    made = {"build/pictures"}
    assert [name for name in missing if name not in made] == []


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_every_link_leads_somewhere(path: Path) -> None:
    targets = [target for target in LINK.findall(text(path)) if "://" not in target]
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_a_page_that_lies_would_be_noticed() -> None:
    assert NAMED_PATH.findall("see `hosting/nothing.py` and `edge_node/store/`") == [
        "hosting/nothing.py",
        "edge_node/store/",
    ]
    assert LINK.findall("[a](walks/b.md#part)") == ["walks/b.md"]


def test_three_walks_name_their_files() -> None:
    for name in ("reading", "payment", "link-loss"):
        assert len(set(NAMED_PATH.findall(text(DOCS / "walks" / f"{name}.md")))) >= 8, name


def test_every_page_is_reached_from_the_map() -> None:
    seen, waiting = set(), [DOCS / "index.md"]
    while waiting:
        here = waiting.pop()
        if here in seen or not here.exists():
            continue
        seen.add(here)
        waiting += [(here.parent / link).resolve() for link in LINK.findall(text(here)) if link.endswith(".md")]
    assert sorted(relative(path) for path in DOCS.rglob("*.md") if path not in seen) == []


def test_decisions_are_numbered_without_holes_and_on_the_map() -> None:
    pages = sorted((DOCS / "adr").glob("*.md"))
    assert [path.name[:4] for path in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
    on_map = text(DOCS / "index.md")
    for path in pages:
        assert f"adr/{path.name}" in on_map
        assert text(path).startswith(f"# {path.name[:4]}: ")
        assert "**Status:**" in text(path)


def test_every_dependency_stands_in_the_decision_on_libraries() -> None:
    project = tomllib.loads(text(HOUSE / "pyproject.toml"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {re.split(r"[^\w-]", one)[0].lower() for one in wanted} - {"tarmoq"}
    lines = text(DOCS / "adr" / "0008-libraries.md").splitlines()
    rows = {line.split("|")[1].strip() for line in lines if line.startswith("|")}
    assert names - rows == set()
    assert rows - names - {"library", "---"} == set()


def test_every_make_target_is_documented_and_they_are_few() -> None:
    makefile = text(HOUSE / "Makefile")
    targets = set(TARGET.findall(makefile))
    phony = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert targets == set(" ".join(phony).split())
    assert len(targets) <= TARGETS_MAX
    documented = set(re.findall(r"`make (\w+)", text(DOCS / "reference" / "commands.md")))
    assert documented == targets


def commands(folder: Path) -> set[str]:
    """Verbs of a program: what is handed to `command(...)`, as a decorator or by a call.

    Verbs of a module whose `app` another one adds under a name stand behind that name: ``keys import``.
    """
    verbs, groups = set[str](), dict[str, str]()
    trees = [(path.stem, ast.parse(text(path))) for path in folder.rglob("*.py")]
    for _, tree in trees:
        groups |= dict(filter(None, map(named_group, ast.walk(tree))))
    for module, tree in trees:
        found = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                bare = [one for one in node.decorator_list if named_verb(one) == ""]
                found |= {node.name.replace("_", "-") for _ in bare}
            found.add(named_verb(node) or "")
        verbs |= {f"{groups.get(module, '')} {verb}".strip() for verb in found - {""}}
    return verbs


def named_group(node: ast.AST) -> tuple[str, str] | None:
    """The module and the name in ``app.add_typer(module.app, name="keys")``."""
    match node:
        case ast.Call(
            func=ast.Attribute(attr="add_typer"),
            args=[ast.Attribute(value=ast.Name(id=module))],
            keywords=[ast.keyword(arg="name", value=ast.Constant(value=str(name)))],
        ):
            return module, name
        case _:
            return None


def named_verb(node: ast.AST) -> str | None:
    """The verb that a `….command("verb")` names; empty when it leaves that to the function; None for anything else."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "command"):
        return None
    names = [one.value for one in node.args[:1] if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return names[0] if names else ""


@pytest.mark.parametrize(
    ("program", "folder"), [("edge-node", "edge_node"), ("central-sync", "central_sync"), ("simulate", "simulate")]
)
def test_every_command_is_documented_and_every_documented_command_exists(program: str, folder: str) -> None:
    documented = set(re.findall(rf"^\| `{program} ([\w -]+)`", text(DOCS / "reference" / "commands.md"), re.MULTILINE))
    assert commands(HOUSE / folder) == documented


def test_commands_are_found_in_every_form(tmp_path: Path) -> None:
    source = """
@app.command()
def stop_cuts(): ...
@app.command("import")
def import_files(): ...
app.command("run")(run)
@app.callback()
def other(): ...
"""
    (tmp_path / "a.py").write_text(source, "utf-8")
    assert commands(tmp_path) == {"stop-cuts", "import", "run"}
    (tmp_path / "b.py").write_text(
        'import a\napp.add_typer(a.app, name="keys")\n@app.command()\ndef run(): ...', "utf-8"
    )
    assert commands(tmp_path) == {"keys stop-cuts", "keys import", "keys run", "run"}


def test_every_config_folder_is_documented() -> None:
    reference = text(DOCS / "reference" / "configuration.md")
    folders = {path.name for path in (HOUSE / "configs").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert [name for name in sorted(folders) if f"`configs/{name}`" not in reference] == []


@pytest.mark.parametrize("path", sorted((HOUSE / "configs").rglob("*.toml")), ids=relative)
def test_every_config_file_parses_and_says_where_it_is_from(path: Path) -> None:
    assert tomllib.loads(text(path))
    if path.parent.name in {"regions", "policy", "tariffs"}:
        assert text(path).startswith("# Made by `python -m configs.")


def test_the_glossary_page_is_made_from_its_sources() -> None:
    assert text(DOCS / "glossary.md") == page(), "run `python -m configs.make_glossary`"


def test_the_glossary_speaks_four_languages_and_the_houses_own_words() -> None:
    terms = json.loads(text(HOUSE / "configs" / "glossary.json"))["terms"]
    assert len(terms) == 76
    assert all(term[language] for term in terms for language in ("en", "uz_Latn", "uz_Cyrl", "ru"))
    words = set(re.findall(r"^\| \*\*(.*?)\*\*", text(DOCS / "glossary.md"), re.MULTILINE))
    law = {"node", "credit", "connected, disconnected", "link up, link lost", "outage", "register", "session", "loss"}
    assert law <= words


def test_the_changelog_has_room_for_what_comes() -> None:
    lines = text(HOUSE / "CHANGELOG.md").splitlines()
    assert "## [Unreleased]" in lines
    assert "Keep a Changelog" in text(HOUSE / "CHANGELOG.md")


def test_every_error_code_has_an_area_with_one_home() -> None:
    lines = text(DOCS / "reference" / "faults.md").splitlines()
    rows = [line.split("|") for line in lines if re.match(r"\| [A-Z]{2} ", line)]
    homes = {row[1].strip(): tuple(home.strip() for home in row[3].split(",")) for row in rows}
    strays = set()
    for module in load(HOUSE).product():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
                area = node.value[3:5]
                if not module.path.startswith(homes.get(area, ("nowhere",))):
                    home = ", ".join(homes.get(area, ("no row of docs/reference/faults.md",)))
                    strays.add(f"{node.value} in {module.path}: the area lives in {home}")
    assert sorted(strays) == []


def test_nothing_that_ships_knows_this_machine() -> None:
    told = [HOUSE / "README.md", HOUSE / "NOTICE", HOUSE / "Makefile", *DOCS.rglob("*.md"), *(HOUSE / ".ci").iterdir()]
    told += [HOUSE / module.path for module in load(HOUSE).modules]
    pattern = re.compile(r"/(work|root|home|tmp)/[a-z]")
    assert [relative(path) for path in told if pattern.search(text(path)) and path != Path(__file__)] == []
