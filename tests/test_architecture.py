"""The house stands as DESIGN draws it; and each law is able to fail."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import house_laws
from tests.house_laws import CHECKERS, Tree, load
from tests.house_tables import FLOORS, PRODUCT

HOUSE = Path(__file__).parent.parent
LONG_FUNCTION = "def f():\n" + "    x = 1\n" * 60
LONG_FILE = "x = 1\n" * 401

BROKEN: dict[str, list[tuple[dict[str, str], str]]] = {
    "floors": [
        ({"gridmodel/a.py": "import protocols.driver"}, "gridmodel may not import protocols.driver"),
        ({"gridmodel/a.py": "import pydantic"}, "standard library only"),
        ({"gridmodel/a.py": "def f():\n    from hosting import clocks"}, "gridmodel may not import hosting"),
        ({"protocols/a.py": "from hosting.config import load_toml"}, "protocols may not import hosting.config"),
        ({"hosting/a.py": "from protocols import driver"}, "hosting may not import protocols"),
        ({"edge_node/a.py": "import central_sync.hub"}, "edge_node may not import central_sync.hub"),
        ({"central_sync/a.py": "from edge_node.store import x"}, "central_sync may not import edge_node.store"),
        ({"edge_node/a.py": "from simulate import world"}, "edge_node may not import simulate"),
        ({"simulate/a.py": "import tests.house_laws"}, "simulate may not import tests"),
        ({"hosting/a.py": "from configs import toml_text"}, "hosting may not import configs"),
    ],
    "rooms": [
        ({"edge_node/metering/a.py": "from edge_node.money import rating"}, "edge_node/metering may not import"),
        ({"edge_node/supply/a.py": "from ..uplink import hub_link"}, "may not import edge_node.uplink"),
        ({"edge_node/store/a.py": "import edge_node.supply.relay"}, "edge_node/store may not import"),
        ({"edge_node/money/a.py": "from edge_node.console import pages"}, "edge_node/money may not import"),
        ({"edge_node/uplink/a.py": "import edge_node.node"}, "edge_node/uplink may not import edge_node.node"),
        ({"central_sync/balance/a.py": "import central_sync.ingest.slots"}, "central_sync/balance may not import"),
        ({"central_sync/situation/a.py": "from central_sync.api import x"}, "central_sync/situation may not import"),
        ({"protocols/modbus/a.py": "from protocols.sync import wire"}, "protocols/modbus may not import"),
        ({"protocols/sync/a.py": "from protocols.dlms import axdr"}, "protocols/sync may not import"),
        ({"protocols/errors.py": "from protocols.sync import wire"}, "protocols/errors may not import"),
    ],
    "circles": [
        ({"hosting/a.py": "from hosting import b", "hosting/b.py": "import hosting.a"}, "circle"),
        (
            {
                "hosting/a.py": "import hosting.b",
                "hosting/b.py": "import hosting.c",
                "hosting/c.py": "import hosting.a",
            },
            "hosting.a -> hosting.b -> hosting.c -> hosting.a",
        ),
    ],
    "doors": [
        ({"edge_node/supply/a.py": "import aiosqlite"}, "aiosqlite belongs behind edge_node/store/"),
        ({"edge_node/metering/a.py": "from pymodbus.client import X"}, "belongs behind protocols/modbus/"),
        ({"protocols/sync/messages.py": "import msgpack"}, "belongs behind protocols/sync/wire.py"),
        ({"central_sync/ingest/a.py": "def f():\n    import numpy as np"}, "numpy belongs behind"),
        ({"hosting/config.py": "from cryptography.hazmat import x"}, "hosting/keys"),
        ({"edge_node/node.py": "from aiohttp import web"}, "aiohttp belongs behind"),
    ],
    "permits": [
        ({"edge_node/metering/collector.py": "x = WritePermit('op', 1)"}, "WritePermit is minted in"),
        (
            {"edge_node/supply/door.py": "import protocols.driver as d\nx = d.ClockPermit('op', 1)"},
            "ClockPermit is minted",
        ),
    ],
    "sql": [
        ({"edge_node/money/a.py": 'query = "SELECT 1 FROM ledger"'}, "SQL outside a store"),
        ({"edge_node/node.py": 'x = f"INSERT OR IGNORE INTO {table} VALUES (1)"'}, "SQL outside a store"),
        ({"hosting/instance.py": 'x = """\n    PRAGMA user_version"""'}, "SQL outside a store"),
    ],
    "clocks": [
        ({"edge_node/a.py": "import time"}, "time: time and chance"),
        ({"edge_node/a.py": "from time import monotonic"}, "time: time and chance"),
        ({"gridmodel/a.py": "import random as dice"}, "random"),
        ({"gridmodel/a.py": "from secrets import token_bytes"}, "secrets"),
        ({"hosting/a.py": "import os\nx = os.urandom(8)"}, "os.urandom"),
        ({"hosting/a.py": "from os import urandom"}, "os.urandom"),
        ({"hosting/a.py": "import uuid\nx = uuid.uuid4()"}, "uuid.uuid4"),
        ({"central_sync/a.py": "from datetime import datetime as dt\nx = dt.now()"}, "datetime.datetime.now"),
        ({"central_sync/a.py": "import datetime\nx = datetime.date.today()"}, "datetime.date.today"),
        ({"central_sync/a.py": "import asyncio as aio\nasync def f():\n    await aio.sleep(1)"}, "asyncio.sleep"),
        ({"central_sync/a.py": "from asyncio import sleep"}, "asyncio.sleep"),
        ({"protocols/a.py": "import asyncio\nx = asyncio.get_running_loop().time()"}, "time and chance"),
        ({"protocols/a.py": "import asyncio\nsleeper = asyncio.sleep"}, "asyncio.sleep"),
    ],
    "sizes": [
        ({"tests/test_a.py": LONG_FILE}, "has 401 lines"),
        ({"simulate/a.py": LONG_FUNCTION}, "f has 61 lines"),
        ({"hosting/a.py": "class A:\n    async " + LONG_FUNCTION.replace("\n", "\n    ")}, "f has 61 lines"),
    ],
    "folder_names": [
        ({"edge_node/utils/a.py": ""}, "a name must say"),
        ({"hosting/core.py": ""}, "a name must say"),
        ({"tests/helpers.py": ""}, "a name must say"),
    ],
    "words": [
        ({"edge_node/a.py": "def f(account_balance): ..."}, "money is credit"),
        ({"central_sync/a.py": "class A:\n    balance_tiyin: int"}, "money is credit"),
        ({"edge_node/a.py": "link_outage = 1"}, "link loss"),
        ({"edge_node/a.py": "class A:\n    def f(self):\n        self.hub_connected = True"}, "a link is up or lost"),
        ({"protocols/dlms/a.py": "class DlmsSession: ..."}, "associations"),
        ({"protocols/dlms/a.py": "def open_session(): ..."}, "associations"),
    ],
}

SOUND: dict[str, str] = {
    "gridmodel/a.py": '"""SELECT is only a word here."""\nimport dataclasses\nfrom datetime import datetime, UTC',
    "gridmodel/b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from gridmodel.c import C",
    "gridmodel/c.py": "import gridmodel.b\ndef f():\n    import gridmodel.a",
    "protocols/sync/wire.py": "import msgpack\nfrom protocols.authority import signatures",
    "protocols/authority/signatures.py": "import cryptography",
    "hosting/clocks.py": "import time, random, secrets, asyncio\nx = asyncio.sleep",
    "hosting/database.py": 'import aiosqlite\nx = "BEGIN IMMEDIATE"',
    "edge_node/__main__.py": "import time\nimport edge_node.node",
    "edge_node/node.py": "import asyncio\nfrom edge_node.money import rating\nx = asyncio.timeout(3)",
    "edge_node/money/rating.py": "from edge_node.store import ledger\nfrom edge_node import config",
    "edge_node/store/ledger.py": 'x = "SELECT 1"',
    "edge_node/config.py": "from hosting import config",
    "edge_node/supply/door.py": "x = WritePermit('op', 1)",
    "edge_node/metering/clock_door.py": "x = ClockPermit('op', 1)",
    "edge_node/console/pages.py": "import aiohttp\nfrom edge_node.money import rating",
    "central_sync/ingest/a.py": "from central_sync.balance import balances",
    "central_sync/balance/balances.py": "import numpy\nbalance_wh = 1",
    "simulate/a.py": "import time, numpy, aiosqlite\nfrom edge_node import node\nfrom central_sync import hub",
    "tests/test_a.py": "import time, simulate.a\n" + "x = 1\n" * 399,
    "tests/test_b.py": LONG_FUNCTION.replace("    x = 1\n", "", 1),
}


def plant(root: Path, files: dict[str, str]) -> Tree:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return load(root)


@pytest.fixture(scope="module")
def house() -> Tree:
    return load(HOUSE)


@pytest.mark.parametrize("checker", CHECKERS, ids=lambda checker: checker.__name__)
def test_the_house_keeps_the_law(checker: Callable[[Tree], list[str]], house: Tree) -> None:
    assert checker(house) == []


def test_the_house_was_looked_at(house: Tree) -> None:
    assert {module.top for module in house.modules} >= {*PRODUCT, "simulate", "tests"}


def test_no_top_folder_stands_outside_the_floors() -> None:
    made = {"build", "dist"}
    tops = {path.parent.name for path in HOUSE.glob("*/*.py")} - made
    assert tops <= {*FLOORS, "tests"}


@pytest.mark.parametrize("checker", CHECKERS, ids=lambda checker: checker.__name__)
def test_a_sound_tree_passes(checker: Callable[[Tree], list[str]], tmp_path: Path) -> None:
    assert checker(plant(tmp_path, SOUND)) == []


@pytest.mark.parametrize(
    ("law", "files", "sentence"),
    [(law, files, sentence) for law, cases in BROKEN.items() for files, sentence in cases],
)
def test_each_law_can_fail(law: str, files: dict[str, str], sentence: str, tmp_path: Path) -> None:
    checker: Callable[[Tree], list[str]] = getattr(house_laws, law)
    broken = checker(plant(tmp_path, files))
    assert len(broken) >= 1
    assert sentence in broken[0]


def test_every_law_has_its_proof() -> None:
    assert {checker.__name__ for checker in CHECKERS} == set(BROKEN)
