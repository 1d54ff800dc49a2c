"""The page's scripts and styles, as `collectstatic` writes them."""

import re
from pathlib import Path

import pytest
from django.core.files.storage import FileSystemStorage

from whatsapp_agent.http.static_files import StaticFilesStorage

SOURCE = Path(__file__).resolve().parents[3] / "agent/static"
IMPORT = re.compile(r'(?:from|import)\s*"(\./[^"]+)"')


@pytest.fixture
def collected(tmp_path: Path) -> Path:
    """The directory of the simulator's files after `collectstatic`: only names with a hash are left."""
    storage = StaticFilesStorage(location=tmp_path)
    source = FileSystemStorage(location=SOURCE)
    names = [str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*") if path.is_file()]
    for name in names:
        with source.open(name) as content:
            storage.save(name, content)
    results = list(storage.post_process({name: (storage, name) for name in names}))
    assert [result for _, _, result in results if isinstance(result, Exception)] == []
    return tmp_path / "agent/simulator"


def test_every_script_imports_files_that_are_served(collected: Path) -> None:
    scripts = list(collected.glob("*.js"))
    imported = {name for script in scripts for name in IMPORT.findall(script.read_text())}
    assert len(scripts) == 4
    assert len(imported) == 3
    assert [name for name in imported if not (collected / name).is_file()] == []


def test_the_page_s_script_imports_the_others_by_their_hashed_names(collected: Path) -> None:
    main = next(collected.glob("main.*.js")).read_text()
    for name in ("common", "composer", "conversation"):
        assert re.search(rf'"\./{name}\.[0-9a-f]{{12}}\.js"', main)


def test_a_script_inserts_no_markup() -> None:
    own = [script for script in SOURCE.rglob("*.js") if script.parent.name != "vendor"]
    for script in own:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", script.read_text()
        )
