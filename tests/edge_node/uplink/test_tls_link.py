"""The link over mutual TLS: who may speak, certificates that end in the dark, wrong clocks, boxes in between."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from central_sync.api.app import hub_app, serve_hub
from edge_node.uplink.hub_link import HubLinkLimits
from gridmodel.clock import ClockTrust, TimeBounds
from gridmodel.fault import Fault
from hosting.clocks import SystemEntropy
from hosting.keys import KeyDomain
from hosting.keys_certificates import Certificate, CertificateAuthority, CertificateKind, SigningRequest, TlsKey
from hosting.tls import TrustedTime, client_context, server_context
from protocols.sync.link import CONTENT_TYPE, HttpLink, LinkLost
from protocols.sync.speaker import KINDS
from simulate.demo.line import Line
from tests.central_sync.hub_rig import A, B, HandClock
from tests.edge_node.uplink.tls_rig import DAY_S, NOW, Country, Office, run_country, standing_clock


def test_a_node_speaks_for_itself_alone(tmp_path: Path) -> None:
    async def story(land: Country) -> None:
        a, b = await land.enrolled(A), await land.enrolled(B)
        await a.hello()
        await b.hello()
        with pytest.raises(LinkLost, match="TQ-CE-26"):
            await a.hello(B, b.signer)  # B's own words and signature, on A's connection

    run_country(tmp_path, story)


def test_every_exchange_of_the_link_is_held_against_the_certificate() -> None:
    assert set(KINDS) == set(HubLinkLimits().exchange_s_max)


def test_without_a_certificate_nothing_is_heard(tmp_path: Path) -> None:
    async def story(land: Country) -> None:
        office = await land.enrolled()
        bare = client_context(land.authority.certificate, lambda _: None)
        link = HttpLink(land.url, tls=lambda: bare)
        with pytest.raises(LinkLost, match="TQ-CE-20"):
            await link.exchange("hello", b"\x80")
        await link.close()
        # the pages' port does not hear nodes either
        async with serve_hub(hub_app(land.hub, SystemEntropy()), "127.0.0.1:0") as plain:
            in_clear = HttpLink(plain)
            with pytest.raises(LinkLost, match="TQ-CE-27"):
                await in_clear.exchange("hello", b"\x80")
            await in_clear.close()
        await office.hello()

    run_country(tmp_path, story)


@pytest.mark.parametrize("whose", ["another authority's", "one that was never issued", "the hub's own"])
def test_certificates_of_others_open_nothing(tmp_path: Path, whose: str) -> None:
    async def story(land: Country) -> None:
        office = await land.enrolled()
        files = forged(land, office, whose)
        context = client_context(land.authority.certificate, lambda _: None, files)
        link = HttpLink(land.url, tls=lambda: context)
        with pytest.raises(LinkLost) as lost:
            await link.exchange("hello", b"\x80")
        await link.close()
        if whose == "one that was never issued":
            assert "TQ-CE-22" in str(lost.value), "deterministic: the gate says it"
        else:  # TLS refuses; the alert may be overtaken by the end of the connection
            assert lost.value.code in {"TQ-SY-58", "TQ-SY-52"}
        assert lost.value.hint
        await office.hello()

    run_country(tmp_path, story)


def forged(land: Country, office: Office, whose: str) -> tuple[Path, Path]:
    entropy = SystemEntropy()
    request = asked(TlsKey.read(office.identity.key_path))
    match whose:
        case "another authority's":
            other = CertificateAuthority.make(land.folder / "other", KeyDomain.DEMO, NOW, entropy)
            certificate = other.for_node(request, A, NOW, 90, entropy)
        case "one that was never issued":
            certificate = land.authority.for_node(request, A, NOW, 90, entropy)
        case _:
            return land.folder / "ca" / "hub.crt", land.folder / "ca" / "hub.key"
    path = land.folder / "forged.crt"
    certificate.write(path)
    return path, office.identity.key_path


def asked(key: TlsKey) -> SigningRequest:
    return SigningRequest.from_der(key.request(A))


def test_it_renews_before_it_ends_and_the_link_goes_on(tmp_path: Path) -> None:
    async def story(land: Country) -> None:
        office = await land.enrolled()
        first = office.identity.certificate()
        assert first is not None
        assert not office.own.due()
        later = NOW + 70 * DAY_S
        land.clock.at = later
        office.fresh(standing_clock(later))
        assert office.own.told()["state"] == "due"
        link = HttpLink(land.url, tls=office.own.context)
        await asyncio.gather(office.hello())
        assert await office.renewal().renew()
        second = office.identity.certificate()
        assert second is not None
        assert second.not_after == later + 90 * DAY_S
        assert second.key_hash == first.key_hash
        assert not office.own.due()
        land.clock.at = first.not_after + 1
        office.own.time.clock = standing_clock(land.clock.at)
        await office.hello()  # the running node shows the new one without a restart
        await link.close()
        told = (await land.hub.situation.node(A))["certificate"]
        assert (told["state"], told["renewed_late_s"]) == ("valid", 0)

    run_country(tmp_path, story)


def test_a_certificate_that_ended_in_the_dark_comes_home_and_is_shown(tmp_path: Path) -> None:
    async def story(land: Country) -> None:
        office = await land.enrolled()
        late = NOW + 200 * DAY_S
        land.clock.at = late
        office.fresh(standing_clock(late))
        assert (office.own.told()["state"], office.own.due()) == ("ended", True)
        assert (await land.hub.situation.node(A))["certificate"]["state"] == "ended"
        land.own.look()  # the hub's own was renewed meanwhile
        with pytest.raises(LinkLost, match="TQ-CE-24"):
            await office.hello()
        renewal = office.renewal()
        assert await renewal.renew()
        assert renewal.told()["error"] is None
        assert (await office.hello()).hub_time == late
        told = (await land.hub.situation.node(A))["certificate"]
        assert told["state"] == "valid"
        assert abs(told["renewed_late_s"] - 110 * DAY_S) < 60, "the hub shows how long it was out"

    run_country(tmp_path, story)


def test_past_the_grace_it_takes_a_person(tmp_path: Path) -> None:
    async def story(land: Country) -> None:
        office = await land.enrolled()
        land.clock.at = NOW + 90 * DAY_S + 181 * DAY_S
        land.own.look()
        office.fresh(standing_clock(land.clock.at))
        renewal = office.renewal()
        assert not await renewal.renew()
        error = renewal.told()["error"]
        assert error["code"] == "TQ-CE-25"
        assert "token" in error["hint"]
        told = await office.enrol(await land.token(), again=True)
        await land.approve(told["fingerprint"])
        await office.enrol()
        office.fresh(office.clock)
        await office.hello()

    run_country(tmp_path, story)


@pytest.mark.parametrize("wall", [0, 3_600 * 24 * 40, NOW - 400 * DAY_S])
def test_a_node_whose_clock_says_1970_comes_home_and_is_shown_as_such(tmp_path: Path, wall: int) -> None:
    async def story(land: Country) -> None:
        office = await land.enrolled()
        late = NOW + 200 * DAY_S  # its certificate has ended as well
        land.clock.at = late
        land.own.look()
        office.fresh(standing_clock(wall))
        office.own.loaded()
        assert office.own.told()["clock_in_doubt"]
        assert office.own.due(), "a clock in doubt cannot tell: the hub is asked"
        assert await office.renewal().renew()
        assert (await office.hello()).hub_time == late
        told = office.own.told()
        assert (told["hub_judged_in_doubt"], told["state"]) == (True, "valid")

    run_country(tmp_path, story)


def test_a_clock_that_stood_still_in_the_dark_learns_from_the_hubs_certificate(tmp_path: Path) -> None:
    """A board without a battery starts where it stopped: nothing contradicts its clock until the hub is seen."""

    async def story(land: Country) -> None:
        office = await land.enrolled()
        office.fresh(standing_clock(NOW + 60))
        land.clock.at = NOW + 200 * DAY_S
        land.own.look()
        assert not office.own.due(), "by its clock all is well"
        with pytest.raises(LinkLost, match="TQ-CE-24"):
            await office.hello()
        assert office.own.look.is_set()
        assert office.own.due()
        assert await office.renewal().renew()
        await office.hello()
        assert office.own.told()["hub_judged_in_doubt"]

    run_country(tmp_path, story)


def test_a_node_whose_clock_is_1970_does_not_trust_blindly(tmp_path: Path) -> None:
    """A hub's certificate that had ended before the node's own was made is refused, whatever the clock says."""

    async def story(land: Country) -> None:
        old = land.folder / "old"
        old.mkdir()
        key = TlsKey.create(old / "hub.key", SystemEntropy())
        stolen = land.authority.for_hub(key, ["127.0.0.1"], NOW, 30, SystemEntropy())
        stolen.write(old / "hub.crt")
        land.clock.at = NOW + 60 * DAY_S
        land.own.look()
        office = await land.enrolled()
        office.fresh(standing_clock(0))
        context = server_context(land.authority.certificate, (old / "hub.crt", old / "hub.key"))
        async with serve_hub(web.Application(), "127.0.0.1:0", context) as thief:
            link = HttpLink(thief, tls=office.own.context)
            with pytest.raises(LinkLost, match="TQ-CE-10") as lost:
                await link.exchange("hello", b"secret")
            assert lost.value.code == "TQ-SY-58"
            await link.close()
        await office.hello()

    run_country(tmp_path, story)


def test_a_trusted_clock_refuses_a_hub_whose_certificate_ended(tmp_path: Path) -> None:
    async def story(land: Country) -> None:
        office = await land.enrolled()
        office.fresh(standing_clock(NOW + 100 * DAY_S))  # the hub of the rig does not renew by itself
        with pytest.raises(LinkLost, match="TQ-CE-10"):
            await office.hello()
        land.clock.at = NOW + 100 * DAY_S
        land.own.look()
        assert await office.renewal().renew()
        await office.hello()

    run_country(tmp_path, story)


@asynccontextmanager
async def opened_by_a_proxy(land: Country, authority: CertificateAuthority) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A box that ends TLS itself, with a certificate of its own, and keeps what it hears."""
    heard: list[bytes] = []

    async def keep(request: web.Request) -> web.Response:
        heard.append(await request.read())
        return web.Response(body=b"", content_type=CONTENT_TYPE)

    folder = land.folder / "box"
    folder.mkdir()
    key = TlsKey.create(folder / "k", SystemEntropy())
    authority.for_hub(key, ["127.0.0.1"], NOW, 90, SystemEntropy()).write(folder / "c")
    app = web.Application()
    app.router.add_post("/{tail:.*}", keep)
    context = server_context(authority.certificate, (folder / "c", folder / "k"))
    async with serve_hub(app, "127.0.0.1:0", context) as url:
        yield url, heard


def test_a_proxy_that_passes_bytes_changes_nothing_and_one_that_opens_tls_hears_nothing(tmp_path: Path) -> None:
    async def story(land: Country) -> None:
        office = await land.enrolled()
        line = Line(0, int(land.url.rpartition(":")[2]))
        await line.open()
        assert line._server is not None
        port = line._server.sockets[0].getsockname()[1]
        through = replace_url(office, f"https://127.0.0.1:{port}")
        assert (await through.hello()).hub_incarnation == land.hub.incarnation
        await line.close()
        other = CertificateAuthority.make(land.folder / "other", KeyDomain.DEMO, NOW, SystemEntropy())
        async with opened_by_a_proxy(land, other) as (url, heard):
            with pytest.raises(LinkLost) as lost:
                await replace_url(office, url).hello()
            assert lost.value.code == "TQ-SY-58"
            assert "proxy" in lost.value.hint
            assert heard == []

    run_country(tmp_path, story)


def replace_url(office: Office, url: str) -> Office:
    hub = office.config.hub.model_copy(update={"url": url})
    return replace(office, config=office.config.model_copy(update={"hub": hub}))


def test_a_hub_is_known_by_its_names_and_a_node_is_no_hub(tmp_path: Path) -> None:
    async def story(land: Country) -> None:
        office = await land.enrolled()
        elsewhere = land.url.replace("127.0.0.1", "127.0.0.2")
        with pytest.raises(LinkLost):
            await replace_url(office, elsewhere).hello()
        # a node that pretends to be the hub, with its own good certificate
        files = (office.identity.certificate_path, office.identity.key_path)
        async with serve_hub(
            web.Application(), "127.0.0.1:0", server_context(land.authority.certificate, files)
        ) as url:
            with pytest.raises(LinkLost) as lost:
                await replace_url(office, url).hello()
            assert lost.value.code == "TQ-SY-58"

    run_country(tmp_path, story)


def test_what_is_not_tls_harms_nobody(tmp_path: Path) -> None:
    async def story(land: Country) -> None:
        office = await land.enrolled()
        port = int(land.url.rpartition(":")[2])
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(300), b"\x00" * 5_000, b""):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(garbage)
            writer.write_eof()
            await reader.read()
            writer.close()
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=old)
        await office.hello()

    run_country(tmp_path, story)


class DoubtfulClock(HandClock):
    def trust(self) -> ClockTrust:
        return ClockTrust.DOUBTFUL


def test_trusted_time_refuses_only_what_is_sure() -> None:
    def paper(first: int, last: int) -> Certificate:
        return Certificate(b"", CertificateKind.HUB, "hub", "1", first, last, b"", "demo")

    def verdict(time: TrustedTime, certificate: Certificate) -> str:
        try:
            time.check(certificate, "the hub")
        except Fault as fault:
            return fault.code
        return "ok"

    right = TrustedTime(HandClock(NOW), 0)
    assert verdict(right, paper(NOW - 9, NOW + 9)) == "ok"
    assert verdict(right, paper(NOW - 9, NOW - 3)) == "TQ-CE-10"
    assert verdict(right, paper(NOW + 9, NOW + 99)) == "TQ-CE-11", "a clock that was confirmed"
    stopped = TrustedTime(standing_clock(NOW), 0)
    assert verdict(stopped, paper(NOW + 9, NOW + 99)) == "ok"
    assert (stopped.floor, stopped.doubtful) == (NOW + 9, True)
    ahead = TrustedTime(DoubtfulClock(NOW + 10**9), NOW)
    assert ahead.bounds() == TimeBounds(NOW, 2**40)
    assert verdict(ahead, paper(NOW - 9, NOW + 9)) == "ok", "a clock in doubt ends nothing"
    assert verdict(ahead, paper(NOW - 9, NOW)) == "TQ-CE-10", "but the floor does"
    slow = TrustedTime(HandClock(0), NOW)
    assert slow.doubtful
    assert verdict(slow, paper(NOW - 9, NOW + 9)) == "ok"
    assert verdict(slow, paper(0, 99)) == "TQ-CE-10"
