"""`edge-node probe` on DLMS meters: every security, both links, what the command line overrides and refuses."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_node.probing import ProbeOptions, Security, probe_meter
from hosting.clocks import ScaledClock
from protocols.dlms.keys import MeterSecrets
from protocols.dlms.place import LinkKind
from protocols.dlms.section import dlms_plan
from protocols.profile import load_profile
from tests.edge_node.test_meter_keys import AK, EK, written
from tests.protocols.dlms.parties import CountingEntropy
from tests.protocols.dlms.recording import SERIAL, VALUES
from tests.protocols.dlms.served import ServedMeter, served
from tests.protocols.modbus.scripted import NOON

KEYS = f'block_key = "{EK}"\nauthentication_key = "{AK}"\npassword = "3763346130653931"\n'
SECRETS = MeterSecrets(b"7c4a0e91", bytes.fromhex(EK), bytes.fromhex(AK))


def probed(name: str, options: ProbeOptions, *, times: int = 1, address: str = "") -> list[dict[str, Any]]:
    async def main() -> list[dict[str, Any]]:
        plan = dlms_plan(load_profile(name))
        meter = ServedMeter(plan, SERIAL, lambda key, _: VALUES[key], unit=17, secrets=SECRETS)
        clock, entropy = ScaledClock(), CountingEntropy(1_000_000)
        async with served(meter, lambda: NOON) as wire:
            told = [
                await probe_meter(name, address or wire.address, 17, options, clock=clock, entropy=entropy)
                for _ in range(times)
            ]
            await asyncio.sleep(0)
        return [json.loads(json.dumps(one)) for one in told]

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "link", "security", "client", "physical"),
    [
        ("dlms_plain_single", "wrapper", "none", 16, 0),
        ("dlms_lls_three", "hdlc", "low", 32, 17),
        ("dlms_hls_single", "wrapper", "gmac", 1, 0),
        ("dlms_hls_three", "hdlc", "gmac", 1, 17),
    ],
)
def test_a_meter_is_read_once(  # noqa: PLR0917
    tmp_path: Path, name: str, link: str, security: str, client: int, physical: int
) -> None:
    told = probed(name, ProbeOptions(keys=written(tmp_path, KEYS)), times=2)
    for result in told:
        assert (result["ok"], result["errors"]) == (True, []), result
        assert (result["link"], result["security"], result["client"]) == (link, security, client)
        assert (result["server"], result["physical"], "unit" in result) == (1, physical, False)
        assert (result["serial"], result["meter_time"]) == (SERIAL, NOON)
        rows = {row["channel"]: row for row in result["readings"]}
        assert rows["import"] == {
            "channel": "import",
            "register": "3/1.0.1.8.0.255 attribute 2",
            "value": 12_345_678,
            "unit": "Wh",
            "quality": "actual",
            "raw_hex": "0600bc614e",
            "resolution_wh": 1,
            "mark": None,
        }
        assert rows["voltage_l1_mv"]["unit"] == "mV"


def test_the_command_line_goes_before_the_profile() -> None:
    options = ProbeOptions(LinkKind.WRAPPER, 16, 1, security=Security.NONE)
    (result,) = probed("dlms_plain_single", options)
    assert result["ok"], result
    (result,) = probed("dlms_plain_single", ProbeOptions(client=99))
    assert (result["ok"], result["client"]) == (False, 99)
    assert result["errors"][0]["code"] == "TQ-DM-40"
    (result,) = probed("dlms_plain_single", ProbeOptions(security=Security.GMAC))
    assert result["errors"][0]["code"] == "TQ-DM-94", "ciphering needs keys"


def test_what_goes_wrong_is_a_result(tmp_path: Path) -> None:
    known = written(tmp_path, KEYS.replace(EK, "000102030405060708090A0B0C0D0E0F"))
    for name, options, address, code in (
        ("dlms_hls_single", ProbeOptions(keys=known), "", "TQ-MK-04"),
        ("dlms_hls_single", ProbeOptions(keys=known, demo=True), "", "TQ-DM-40"),
        ("dlms_hls_single", ProbeOptions(keys=tmp_path / "none.toml"), "", "TQ-MK-01"),
        ("dlms_hls_single", ProbeOptions(), "127.0.0.1", "TQ-DM-93"),
        ("dlms_plain_single", ProbeOptions(), "127.0.0.1:1", "TQ-DM-80"),
    ):
        (result,) = probed(name, options, address=address)
        assert result["ok"] is False
        assert result["errors"][0]["code"] == code, result["errors"]
        assert result["errors"][0]["hint"]
        assert result["readings"] == []


def test_a_meter_of_a_nodes_key_file_is_named(tmp_path: Path) -> None:
    keys = written(tmp_path, f'[meters."m-1"]\n{KEYS}')
    assert probed("dlms_hls_single", ProbeOptions(keys=keys))[0]["errors"][0]["code"] == "TQ-DM-94"
    assert probed("dlms_hls_single", ProbeOptions(keys=keys, meter="m-1"))[0]["ok"]
    assert probed("dlms_hls_single", ProbeOptions(keys=keys, meter="m-2"))[0]["errors"][0]["code"] == "TQ-MK-06"


def typed(*words: str) -> tuple[int, str]:
    """Exit code and stdout of `edge-node probe`; in a process of its own, since it sets up logs for good."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "edge_node", "probe", *words],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def test_as_it_is_typed(tmp_path: Path) -> None:
    words = ["--profile", "dlms_hls_three", "--address", "127.0.0.1:1", "--client", "1", "--server", "1"]
    words += ["--physical", "17", "--link", "hdlc", "--security", "gmac", "--keys", str(written(tmp_path, KEYS))]
    code, out = typed(*words, "--json")
    told = json.loads(out)
    assert (code, told["errors"][0]["code"]) == (1, "TQ-DM-80")
    assert (told["address"], told["link"], told["security"]) == ("127.0.0.1:1", "hdlc", "gmac")
    code, out = typed("--profile", "none_such", "--address", "127.0.0.1:1", "--json")
    assert (code, json.loads(out)["errors"][0]["code"]) == (1, "TQ-MP-03")
    assert "client 1 server 1: FAILED" in typed(*words)[1]
