"""Enrolment over real TLS: a token, a telephone call, a certificate; and everything that is not that."""

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gridmodel.fault import Fault
from hosting.clocks import SystemEntropy
from hosting.keys import KeyDomain
from hosting.keys_certificates import CertificateAuthority, SigningRequest, TlsKey
from hosting.tls import unverified_context
from protocols.authority.signatures import key_to_text
from protocols.enrolment.messages import EnrolRequest, Token
from protocols.sync.link import LinkLost
from tests.central_sync.hub_rig import SIGNERS, A, B
from tests.edge_node.uplink.tls_rig import DAY_S, NOW, Country, Office, run_country


def test_a_token_a_telephone_call_and_the_node_speaks(tmp_path: Path) -> None:
    async def story(land: Country) -> None:
        office = land.office()
        with pytest.raises(LinkLost, match="TQ-CE-50") as lost:
            await office.hello(signer=SIGNERS[A])
        assert lost.value.code == "TQ-SY-58"
        told = await office.enrol(await land.token())
        assert (told["ok"], told["state"]) == (False, "waiting")
        assert office.own.told()["state"] == "waiting"
        with pytest.raises(Fault) as refused:
            await land.approve("1234 5678 9012 3456 7890")
        assert refused.value.code == "TQ-CE-49"
        await land.approve(told["fingerprint"])
        assert (await office.enrol())["ok"]
        assert (await office.hello()).hub_incarnation == land.hub.incarnation
        assert office.own.told()["state"] == "valid"
        assert not office.own.told()["hub_judged_in_doubt"]
        assert (await land.hub.situation.node(A))["certificate"]["state"] == "valid"
        for path in (office.identity.key_path, land.folder / "ca" / "ca.key", land.folder / "ca" / "hub.key"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE((land.folder / "ca").stat().st_mode) == 0o700

    run_country(tmp_path, story)


def test_every_step_may_be_repeated_and_a_restart_forgets_nothing(tmp_path: Path) -> None:
    async def story(land: Country) -> None:
        office, token = land.office(), await land.token()
        first = await office.enrol(token.lower().replace("-", " "))
        again = await office.enrol(token)
        assert again == first, "the same keys are the same enrolment"
        office.identity.remember(None)  # the answer was lost, or the folder's note of it
        assert await office.enrol(token) == first
        await land.approve(first["fingerprint"])
        assert (await land.office().enrol())["ok"], "another process goes on"
        assert (await office.enrol(token))["ok"], "done is done"
        assert len((await land.hub.enrolments.listed())["enrolments"]) == 1

    run_country(tmp_path, story)

    async def later(land: Country) -> None:
        office = land.office()
        assert (await office.hello()).node_epoch == 1, "a hub that was restarted knows its nodes"

    run_country(tmp_path, later)


def test_a_token_is_for_one_enrolment_of_one_node_for_some_hours(tmp_path: Path) -> None:
    async def story(land: Country) -> None:
        token, short = await land.token(A), await land.token(A, 1)
        await land.office(A).enrol(token)

        async def code(office: Office, given: str) -> str:
            with pytest.raises(Fault) as refused:
                await office.enrol(given)
            assert refused.value.hint
            return refused.value.code

        (tmp_path / "elsewhere").mkdir()
        thief = replace_folder(land, tmp_path / "elsewhere")
        assert await code(thief, token) == "TQ-CE-42", "used, by other keys"
        assert await code(land.office(B), token) == "TQ-CE-44"
        land.clock.at += 3_600
        assert await code(thief, short) == "TQ-CE-43"
        unknown = Token(land.authority.certificate.fingerprint[:10], bytes(10)).to_text()
        assert await code(thief, unknown) == "TQ-CE-42"
        assert await code(thief, "AAAA-BBBB") == "TQ-CE-31"
        other = Token(bytes(10), bytes(10)).to_text()
        assert await code(thief, other) == "TQ-CE-53", "not the hub that was meant"
        with pytest.raises(Fault, match="no node node-x is configured"):
            await land.hub.enrolments.token("node-x", 5, "operator")
        with pytest.raises(Fault, match="hours"):
            await land.hub.enrolments.token(A, 10_000, "operator")
        for stored in (land.folder / "hub").glob("hub.db*"):
            assert Token.from_text(token).secret not in stored.read_bytes(), "kept as a hash alone"

    run_country(tmp_path, story)


def replace_folder(land: Country, folder: Path) -> Office:
    return replace(land, folder=folder).office(A)


def test_who_was_rejected_or_revoked_is_told_and_may_come_again(tmp_path: Path) -> None:
    async def story(land: Country) -> None:
        office = land.office()
        await office.enrol(await land.token())
        waits = (await land.hub.enrolments.listed())["enrolments"][0]["enrolment"]
        await land.hub.enrolments.reject(waits, "operator", "nobody called")
        with pytest.raises(Fault, match="rejected: nobody called") as refused:
            await office.enrol()
        assert refused.value.code == "TQ-CE-37"
        with pytest.raises(Fault, match="rejected already"):
            await land.hub.enrolments.approve(waits, "1", "operator")
        told = await office.enrol(await land.token())
        await land.approve(told["fingerprint"])
        await office.enrol()
        await office.hello()
        assert (await land.hub.enrolments.revoke(A, "operator", "the machine was stolen"))["certificates"] == 1
        with pytest.raises(LinkLost, match="TQ-CE-23"):
            await office.hello()
        assert await office.renewal().renew() is False, "nor does it renew"
        assert (await land.hub.situation.node(A))["certificate"]["state"] == "revoked"
        told = await office.enrol(await land.token(), again=True)
        await land.approve(told["fingerprint"])
        await office.enrol()
        office.fresh(office.clock)
        await office.hello()

    run_country(tmp_path, story)


def test_a_revocation_acts_on_a_connection_that_stands(tmp_path: Path) -> None:
    async def story(land: Country) -> None:
        office = await land.enrolled()
        context = office.own.loaded()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:

            async def asks() -> int:
                headers = {"Content-Type": "application/msgpack"}
                async with session.post(f"{land.url}/sync/v1/hello", data=b"\x80", headers=headers) as reply:
                    await reply.read()
                    return reply.status

            assert await asks() == 400, "it may speak, if only nonsense"
            await land.hub.enrolments.revoke(A, "operator", "test")
            assert await asks() == 403

    run_country(tmp_path, story)


def test_hostile_requests_are_refused_by_name_and_leave_nothing(tmp_path: Path) -> None:
    async def story(land: Country) -> None:
        token = Token.from_text(await land.token())
        key = TlsKey.create(tmp_path / "a.key", SystemEntropy())
        good = EnrolRequest.made(A, token.secret, key.request(A), SIGNERS[A])
        fields = json.loads(good.to_json())
        bodies: dict[str, tuple[bytes, str]] = {
            "garbage": (b"\xff" * 100, "TQ-CE-32"),
            "nothing": (b"", "TQ-CE-32"),
            "deep": (b"[" * 10_000, "TQ-CE-32"),
            "oversized": (b" " * 20_000, "TQ-CE-32"),
            "bare": (b"{}", "TQ-CE-32"),
            "more": (packed(fields, more=1), "TQ-CE-32"),
            "version": (packed(fields, protocol=2), "TQ-CE-32"),
            "signature": (packed(fields, signature="00" * 64), "TQ-CE-33"),
            "other key": (packed(fields, signing_key=fields["signing_key"][:-2] + "A="), "TQ-"),
            "other node": (packed(fields, node=str(B)), "TQ-CE-33"),
            "node": (packed(fields, node="x y"), "TQ-ID-01"),
            "request": (packed(fields, request="AAAA"), "TQ-CE-33"),
            "wrong name": (EnrolRequest.made(A, token.secret, key.request(B), SIGNERS[A]).to_json(), "TQ-CE-06"),
            "no request": (EnrolRequest.made(A, token.secret, b"0" * 50, SIGNERS[A]).to_json(), "TQ-CE-06"),
        }
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=unverified_context())) as session:
            for name, (body, code) in bodies.items():
                async with session.post(f"{land.url}/enrol/v1/request", data=body) as reply:
                    told = await reply.json(content_type=None)
                    assert 400 <= reply.status < 500, name
                    assert told["code"].startswith(code), (name, told)
                    assert told["hint"], name
            assert (await land.hub.enrolments.listed())["enrolments"] == []
            for path in ("state", "renew"):
                async with session.post(f"{land.url}/enrol/v1/{path}", data=b"{}") as reply:
                    assert (await reply.json(content_type=None))["code"] in {"TQ-CE-32", "TQ-CE-20"}
            async with session.get(f"{land.url}/api/v1/nodes") as reply:
                assert reply.status == 404, "no page and no figure is here"

    run_country(tmp_path, story)


def packed(fields: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps(fields | changes).encode()


def test_a_configured_key_is_not_replaced_by_an_enrolment(tmp_path: Path) -> None:
    async def story(land: Country) -> None:
        other = key_to_text(SIGNERS[B].public)
        land.hub.enrolments._nodes[A] = land.hub.enrolments._nodes[A].model_copy(update={"public_key": other})
        with pytest.raises(Fault, match="another signing key") as refused:
            await land.office().enrol(await land.token())
        assert refused.value.code == "TQ-CE-46"

    run_country(tmp_path, story)


def test_an_authority_stays_in_its_domain_and_is_never_made_over(tmp_path: Path) -> None:
    made = CertificateAuthority.make(tmp_path / "ca", KeyDomain.DEMO, NOW, SystemEntropy())
    with pytest.raises(Fault, match="is of demo, this is production"):
        CertificateAuthority.read(tmp_path / "ca", KeyDomain.PRODUCTION)
    with pytest.raises(Fault, match="there is an authority"):
        CertificateAuthority.make(tmp_path / "ca", KeyDomain.DEMO, NOW, SystemEntropy())
    (tmp_path / "ca" / "ca.crt").unlink()  # a make that broke off between key and certificate
    again = CertificateAuthority.make(tmp_path / "ca", KeyDomain.DEMO, NOW, SystemEntropy())
    assert again.certificate.key_hash == made.certificate.key_hash
    key = TlsKey.create(tmp_path / "a.key", SystemEntropy())
    late = made.certificate.not_after - 5 * DAY_S
    issued = made.for_node(SigningRequest.from_der(key.request(A)), A, late, 90, SystemEntropy())
    assert issued.not_after == made.certificate.not_after, "nothing outlives its authority"
    with pytest.raises(Fault, match="authority has ended"):
        made.for_node(SigningRequest.from_der(key.request(A)), A, made.certificate.not_after, 90, SystemEntropy())
    (tmp_path / "ca" / "ca.key").chmod(0o640)
    with pytest.raises(Fault, match="cannot be trusted"):
        CertificateAuthority.read(tmp_path / "ca", KeyDomain.DEMO)
