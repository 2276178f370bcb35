"""The laws of the house as tables: floors, rooms, doors, sizes and words. `house_laws.py` checks code against them."""

import re

FLOORS: dict[str, frozenset[str]] = {
    "gridmodel": frozenset(),
    "protocols": frozenset({"gridmodel"}),
    "hosting": frozenset({"gridmodel"}),
    "edge_node": frozenset({"gridmodel", "protocols", "hosting"}),
    "central_sync": frozenset({"gridmodel", "protocols", "hosting"}),
    "simulate": frozenset({"gridmodel", "protocols", "hosting", "edge_node", "central_sync", "benchmarks"}),
    "benchmarks": frozenset({"gridmodel", "protocols", "hosting", "edge_node", "central_sync", "simulate"}),
    "configs": frozenset(),
}
"""Every top folder and those it may import from, beside itself. A test may import anything."""
PRODUCT = ("gridmodel", "protocols", "hosting", "edge_node", "central_sync")
"""Folders held to the doors and to injected time; the simulator, tests and benchmarks are free of both."""
SIZED = (*FLOORS, "tests")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

ROOMS: dict[str, dict[str, frozenset[str] | None]] = {
    "edge_node": {
        "config": frozenset(),
        "wakeups": frozenset(),
        "store": frozenset({"config"}),
        **dict.fromkeys(("metering", "supply", "money", "uplink"), frozenset({"config", "store", "wakeups"})),
        "console": frozenset({"config", "store", "wakeups", "metering", "supply", "money", "uplink"}),
    },
    "central_sync": {
        "config": frozenset(),
        "store": frozenset({"config"}),
        "ingest": frozenset({"config", "store", "balance"}),
        **dict.fromkeys(("balance", "billing", "authority", "identity", "situation"), frozenset({"config", "store"})),
        "api": frozenset({"config", "store", "ingest", "balance", "billing", "authority", "identity", "situation"}),
        "web": frozenset(
            {"config", "store", "ingest", "balance", "billing", "authority", "identity", "situation", "api"}
        ),
    },
    "protocols": {
        **dict.fromkeys(
            ("errors", "driver", "profile", "turns", "resting"), frozenset({"errors", "driver", "profile"})
        ),
        "authority": frozenset({"errors", "driver", "profile"}),
        **dict.fromkeys(("modbus", "dlms"), frozenset({"errors", "driver", "profile", "turns", "resting"})),
        **dict.fromkeys(("sync", "enrolment"), frozenset({"errors", "driver", "profile", "authority"})),
    },
    "simulate": {
        "judges": frozenset(
            {"book", "clock", "faults", "grid", "people", "process", "site", "trace", "truth", "world"}
        ),
    },
}
"""Rooms of a house and the sibling rooms each may import. Modules not named here (node, hub, commands) stand on top."""

DOORS: dict[str, tuple[str, ...]] = {
    "sqlite3": ("edge_node/store/", "central_sync/store/", "hosting/database", "hosting/migrations.py"),
    "aiosqlite": ("edge_node/store/", "central_sync/store/", "hosting/database", "hosting/migrations.py"),
    "asyncpg": ("central_sync/store/postgres",),
    "pymodbus": ("protocols/modbus/",),
    "msgpack": ("protocols/sync/wire.py",),
    "numpy": ("protocols/sync/chunk", "central_sync/balance/"),
    "zstandard": ("protocols/sync/chunk", "central_sync/balance/"),
    "cryptography": ("protocols/authority/", "protocols/dlms/security.py", "hosting/keys"),
    **dict.fromkeys(
        ("aiohttp", "aiohttp_jinja2", "aiohttp_sse", "jinja2", "markupsafe"),
        (
            "edge_node/console/",
            "central_sync/api/",
            "central_sync/web/",
            "central_sync/billing/http.py",
            "protocols/sync/link.py",
            "protocols/enrolment/client.py",
            "hosting/web",
            "hosting/door.py",
            "hosting/openapi",
        ),
    ),
    "babel": ("hosting/i18n.py", "hosting/catalogues.py"),
}
"""A library and the path beginnings where alone the product may import it (`hosting/database` has siblings)."""
PERMITS: dict[str, tuple[str, ...]] = {
    "WritePermit": ("edge_node/supply/door.py",),
    "ClockPermit": ("edge_node/metering/clock_door.py",),
}
"""What lets a driver write to a meter, and the one door of the product that mints it, after its intent is durable."""
SQL_DOORS = DOORS["aiosqlite"]
SQL = re.compile(
    r"\s*(SELECT\s|INSERT\s+(OR\s+\w+\s+)?INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|REPLACE\s+INTO\s|DROP\s+TABLE\s"
    r"|CREATE\s+(UNIQUE\s+)?(TABLE|INDEX|VIEW|TRIGGER)\s|ALTER\s+TABLE\s|PRAGMA\s+\w|BEGIN\s+(IMMEDIATE|DEFERRED)|VACUUM)"
)

CLOCK_DOORS = ("hosting/clocks.py", "__main__.py")
"""Where alone the product may look at a clock or throw dice: a path, or a file name."""
CLOCK_MODULES = frozenset({"time", "random", "secrets"})
CLOCK_CALLS = frozenset(
    {
        "asyncio.sleep",
        "datetime.date.today",
        "datetime.datetime.now",
        "datetime.datetime.today",
        "datetime.datetime.utcnow",
        "os.getrandom",
        "os.times",
        "os.urandom",
        "uuid.uuid1",
        "uuid.uuid4",
    }
)

NAMES_FORBIDDEN = frozenset({"util", "utils", "helper", "helpers", "common", "core", "manager", "managers", "misc"})
WORDS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("", re.compile(r"(account|money|customer|payer|cash)_balance|balance_(tiyin|som|uzs)"), "money is credit"),
    ("", re.compile(r"(link|network|sync|internet|hub)_outage"), "an outage is of supply; the network has link loss"),
    ("", re.compile(r"(link|hub|network)_(dis)?connected"), "relays are (dis)connected; a link is up or lost"),
    ("protocols/dlms/", re.compile(r"(^|_)session(_|$)|[a-z]Session|^Session"), "DLMS has associations"),
)
"""(path beginning, identifier, why): one meaning per word."""
