"""The HTTP link against a peer that may say anything: each answer is a whole reply or a named loss, in bounded room."""

import asyncio
import gzip
import socket
import tracemalloc
from collections.abc import Awaitable, Callable

import pytest

from protocols.errors import Blame, Hope
from protocols.sync.link import CONTENT_TYPE, REPLY_BYTES_MAX, REQUEST_BYTES_MAX, HttpLink, LinkLost

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEAD = f"HTTP/1.1 200 OK\r\nContent-Type: {CONTENT_TYPE}\r\n".encode()


async def spoken_to(peer: Peer, exchanges: int = 1, kind: str = "hello") -> list[bytes | LinkLost]:
    """What a link makes of a peer that reads the request and then does as it likes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)
                await peer(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = HttpLink(f"http://127.0.0.1:{port}/", connect_s_max=0.5, answer_s_max=0.3, rate_bytes_s_min=10_000_000)
    told: list[bytes | LinkLost] = []
    try:
        for _ in range(exchanges):
            try:
                told.append(await link.exchange(kind, b"body"))
            except LinkLost as lost:
                told.append(lost)
    finally:
        await link.close()
        server.close()
        await server.wait_closed()
    return told


def says(*parts: bytes, close: bool = False) -> Peer:
    async def peer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if close:
            writer.close()

    return peer


def lost(peer: Peer, kind: str = "hello") -> LinkLost:
    (told,) = asyncio.run(spoken_to(peer, kind=kind))
    assert isinstance(told, LinkLost), told
    assert told.hint
    return told


def whole(body: bytes, status: str = "200 OK", headers: bytes = b"", kind: str = CONTENT_TYPE) -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n".encode()
        + headers
        + b"\r\n"
        + body
    )


def test_a_whole_reply_is_given() -> None:
    assert asyncio.run(spoken_to(says(whole(b"reply")), exchanges=3)) == [b"reply"] * 3


def test_nobody_there() -> None:
    async def story() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            link = HttpLink(f"http://127.0.0.1:{taken.getsockname()[1]}")
            with pytest.raises(LinkLost) as caught:
                await link.exchange("hello", b"x")
            await link.close()
        assert caught.value.code == "TQ-SY-50"
        assert caught.value.hope is Hope.RETRY

    asyncio.run(story())


def test_an_address_that_is_none() -> None:
    async def story() -> None:
        for url in ("http://[", "hub.example", "ftp://hub.example"):
            link = HttpLink(url)
            with pytest.raises(LinkLost) as caught:
                await link.exchange("hello", b"x")
            await link.close()
            assert caught.value.code == "TQ-SY-50"
            assert (caught.value.blame, caught.value.hope) == (Blame.LOCAL, Hope.PERMANENT)

    asyncio.run(story())


def test_cut_off_before_and_within_the_reply() -> None:
    assert lost(says(close=True)).code == "TQ-SY-52"
    assert lost(says(b"HTTP/1.1 200", close=True)).code == "TQ-SY-52"
    assert lost(says(HEAD + b"Content-Length: 100\r\n\r\nhalf", close=True)).code == "TQ-SY-52"
    assert lost(says(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhalf", close=True)).code == "TQ-SY-52"


def test_reset_within_the_reply() -> None:
    async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Content-Length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()

    assert lost(reset).code == "TQ-SY-52"


def test_no_http_at_all() -> None:
    assert lost(says(b"SSH-2.0-OpenSSH_9.6\r\n", close=True)).code == "TQ-SY-52"
    assert lost(says(b"\x15\x03\x01\0\x02\x02\x16", close=True)).code == "TQ-SY-52"
    assert lost(says(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000, close=True)).code == "TQ-SY-52"


def test_silence_and_dripping_end() -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def dripping(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Content-Length: 8000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    assert lost(silent).code == "TQ-SY-51"
    assert lost(dripping).code == "TQ-SY-51"


def test_too_large_a_reply_is_not_held() -> None:
    assert lost(says(whole(bytes(REPLY_BYTES_MAX["hello"] + 1)))).code == "TQ-SY-53"
    assert asyncio.run(spoken_to(says(whole(bytes(REPLY_BYTES_MAX["hello"]))))) == [bytes(REPLY_BYTES_MAX["hello"])]

    async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"10000\r\n" + bytes(65_536) + b"\r\n")
            await writer.drain()

    tracemalloc.start()
    try:
        assert lost(endless).code == "TQ-SY-53"
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8_000_000


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_compressed_reply_is_refused_unopened(coding: str) -> None:
    bomb = gzip.compress(bytes(5_000_000))
    assert lost(says(whole(bomb, headers=f"Content-Encoding: {coding}\r\n".encode()))).code == "TQ-SY-57"


def test_a_login_page_is_not_a_hub() -> None:
    assert lost(says(whole(b"<html>", kind="text/html"))).code == "TQ-SY-57"
    assert lost(says(whole(b"", "302 Found", b"Location: http://127.0.0.1:9/\r\n"))).code == "TQ-SY-57"


def test_a_failing_hub_is_tried_again() -> None:
    for status in ("500 Oops", "502 Bad Gateway", "504 Timeout"):
        told = lost(says(whole(b'{"code": "TQ-DB-03", "detail": "disk full"}', status)))
        assert (told.code, told.hope) == ("TQ-SY-54", Hope.RETRY)
        assert "TQ-DB-03 disk full" in told.what


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (b"120", 120),
        (b"0", 1),
        (b"999999999", 3_600),
        (b"-5", None),
        (b"soon", None),
        (b"1e9", None),
        (b"9" * 400, None),
    ],
)
def test_a_busy_hub_says_when(header: bytes, seconds: int | None) -> None:
    for status in ("503 Later", "429 Slow down"):
        told = lost(says(whole(b"", status, b"Retry-After: " + header + b"\r\n")))
        assert (told.code, told.hope, told.retry_after_s) == ("TQ-SY-55", Hope.RETRY, seconds)


@pytest.mark.parametrize(
    "problem",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b'{"code": 5}',
        b"[" * 4_000,
        b"\xff",
        b'{"code": "TQ-AU-20", "detail": "\\u001b[31m x"}',
    ],
)
def test_a_refusal_is_told_without_trusting_its_text(problem: bytes) -> None:
    told = lost(says(whole(problem, "403 Forbidden", kind="application/problem+json")))
    assert (told.code, told.hope) == ("TQ-SY-56", Hope.PERMANENT)
    assert told.what.isprintable()


def test_what_is_too_large_or_unknown_is_not_sent() -> None:
    async def story() -> None:
        link = HttpLink("http://127.0.0.1:9")
        for kind, body, code in (("hello", bytes(REQUEST_BYTES_MAX["hello"] + 1), "53"), ("shutdown", b"", "56")):
            with pytest.raises(LinkLost) as caught:
                await link.exchange(kind, body)
            assert caught.value.code == f"TQ-SY-{code}"
            assert (caught.value.blame, caught.value.hope) == (Blame.LOCAL, Hope.PERMANENT)
        await link.close()

    asyncio.run(story())
