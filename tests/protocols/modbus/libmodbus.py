"""libmodbus as a peer of our client and of our meters: its C library by ctypes, where Debian's libmodbus5 is installed.

It is LGPL and stays outside: nothing of it is linked into, shipped with or needed by the product. Only its public
functions and the documented `modbus_mapping_t` are used (libmodbus 3.1).
"""

import ctypes
import ctypes.util
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest

REGISTERS = 0x10000
FRAME_SIZE_MAX = 260
"""MODBUS_TCP_MAX_ADU_LENGTH."""
EXCEPTION_BASE = 112_345_678
"""MODBUS_ENOBASE: errno less this is the exception code."""


class _Mapping(ctypes.Structure):
    """modbus_mapping_t."""

    _fields_ = (
        ("nb_bits", ctypes.c_int),
        ("start_bits", ctypes.c_int),
        ("nb_input_bits", ctypes.c_int),
        ("start_input_bits", ctypes.c_int),
        ("nb_input_registers", ctypes.c_int),
        ("start_input_registers", ctypes.c_int),
        ("nb_registers", ctypes.c_int),
        ("start_registers", ctypes.c_int),
        ("tab_bits", ctypes.POINTER(ctypes.c_uint8)),
        ("tab_input_bits", ctypes.POINTER(ctypes.c_uint8)),
        ("tab_input_registers", ctypes.POINTER(ctypes.c_uint16)),
        ("tab_registers", ctypes.POINTER(ctypes.c_uint16)),
    )


@cache
def _library() -> Any:
    name = ctypes.util.find_library("modbus") or "libmodbus.so.5"
    try:
        library = ctypes.CDLL(name, use_errno=True)
    except OSError:
        return None
    library.modbus_new_tcp.restype = ctypes.c_void_p
    library.modbus_new_tcp.argtypes = [ctypes.c_char_p, ctypes.c_int]
    library.modbus_mapping_new.restype = ctypes.POINTER(_Mapping)
    for verb in ("connect", "close", "free", "set_slave", "tcp_listen", "tcp_accept", "receive", "reply"):
        getattr(library, f"modbus_{verb}").argtypes = None
    return library


def libmodbus() -> Any:
    """The library; the test that asks is skipped by name where it is missing."""
    library = _library()
    if library is None:
        pytest.skip("libmodbus is missing: apt-get install libmodbus5 (Debian) lets it check our Modbus as a stranger")
    return library


class PeerRefusal(Exception):
    """What libmodbus made of the answer; `code` is the exception code where the meter answered with one."""

    def __init__(self, errno: int) -> None:
        super().__init__(f"libmodbus errno {errno}: {os.strerror(errno) if errno < EXCEPTION_BASE else 'exception'}")
        self.code = errno - EXCEPTION_BASE


class PeerClient:
    """libmodbus reading and writing over Modbus/TCP; blocks, so it belongs into a thread."""

    def __init__(self, host: str, port: int, unit: int) -> None:
        self._library = libmodbus()
        self._context = ctypes.c_void_p(self._library.modbus_new_tcp(host.encode(), port))
        self._library.modbus_set_slave(self._context, unit)
        self._done(self._library.modbus_connect(self._context))

    def close(self) -> None:
        self._library.modbus_close(self._context)
        self._library.modbus_free(self._context)

    def read(self, function: int, address: int, count: int) -> bytes:
        """Registers as big-endian bytes, by function 3 or 4."""
        words = (ctypes.c_uint16 * count)()
        verb = self._library.modbus_read_registers if function == 3 else self._library.modbus_read_input_registers
        self._done(verb(self._context, address, count, words))
        return b"".join(word.to_bytes(2, "big") for word in words)

    def write(self, address: int, *values: int) -> None:
        """By function 16."""
        words = (ctypes.c_uint16 * len(values))(*values)
        self._done(self._library.modbus_write_registers(self._context, address, len(values), words))

    def write_one(self, address: int, value: int) -> None:
        """By function 6."""
        self._done(self._library.modbus_write_register(self._context, address, ctypes.c_uint16(value)))

    @staticmethod
    def _done(result: int) -> None:
        if result < 0:
            raise PeerRefusal(ctypes.get_errno())


class PeerServer:
    """libmodbus serving registers over Modbus/TCP from a thread, one client after another."""

    def __init__(self, size: int) -> None:
        self._library = libmodbus()
        self._context = ctypes.c_void_p(self._library.modbus_new_tcp(b"127.0.0.1", 0))
        self._mapping = self._library.modbus_mapping_new(0, 0, size, size)
        listening = self._library.modbus_tcp_listen(self._context, 1)
        self._listener = socket.socket(fileno=listening)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def put(self, function: int, address: int, data: bytes) -> None:
        """Set registers from big-endian bytes: 3 for holding, 4 for input registers."""
        mapping = self._mapping.contents
        table = mapping.tab_registers if function == 3 else mapping.tab_input_registers
        for at in range(0, len(data), 2):
            table[address + at // 2] = int.from_bytes(data[at : at + 2], "big")

    def holding(self, address: int) -> int:
        return int(self._mapping.contents.tab_registers[address])

    def _serve(self) -> None:
        query = (ctypes.c_uint8 * FRAME_SIZE_MAX)()
        descriptor = ctypes.c_int(self._listener.fileno())
        while self._library.modbus_tcp_accept(self._context, ctypes.byref(descriptor)) >= 0:
            while (size := self._library.modbus_receive(self._context, query)) >= 0:
                self._library.modbus_reply(self._context, query, size, self._mapping)
            self._library.modbus_close(self._context)

    def stop(self) -> None:
        """Every client must have gone before."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        assert not self._thread.is_alive(), "libmodbus still serves a client"
        self._listener.close()
        self._library.modbus_mapping_free(self._mapping)
        self._library.modbus_free(self._context)


@contextmanager
def peer_server(size: int = REGISTERS) -> Iterator[PeerServer]:
    server = PeerServer(size)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def peer_client(host: str, port: int, unit: int) -> Iterator[PeerClient]:
    client = PeerClient(host, port, unit)
    try:
        yield client
    finally:
        client.close()
