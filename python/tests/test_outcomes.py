"""A commit with an unknown outcome is distinct from a rejected commit."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import deltalakedb
from deltalakedb import DeltaTable, begin, write_deltalake
from deltalakedb.exceptions import (
    CommitFailedError,
    CommitOutcomeUnknownError,
    DeltaError,
)

from .conftest import ids, postgres_uri, read


class Wire:
    """Forwards bytes to the server; once armed, it is cut at the next COMMIT."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._is_cut = False
        self.is_armed = False
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()
        self._hang_up()

    def repair(self) -> None:
        with self._lock:
            self._is_cut = self.is_armed = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with self._lock:
                if self._is_cut:
                    self._refuse(client)
                    continue
                server = self._connect()
                self._open += [client, server]
            for source, target, is_client in (
                (client, server, True),
                (server, client, False),
            ):
                carry = (source, target, is_client)
                threading.Thread(target=self._carry, args=carry, daemon=True).start()

    def _connect(self) -> socket.socket:
        host, port = self._server
        if not host.startswith("/"):
            return socket.create_connection(self._server)
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _carry(
        self, source: socket.socket, target: socket.socket, is_client: bool
    ) -> None:
        try:
            while data := source.recv(65536):
                is_last = is_client and self.is_armed and b"COMMIT\0" in data
                if is_last:
                    # From here on no answer is forwarded.
                    with self._lock:
                        self._is_cut = True
                if is_client or not self._is_cut:
                    target.sendall(data)
                if is_last:
                    self._hang_up()
        except OSError:
            pass
        self._end(source)
        self._end(target)

    def _hang_up(self) -> None:
        with self._lock:
            self._is_cut = True
            connections, self._open = self._open, []
        for connection in connections:
            self._end(connection)

    @staticmethod
    def _refuse(client: socket.socket) -> None:
        """Answers with an error that is not retried, because retries are slow."""
        client.recv(65536)
        said = b"SFATAL\0C28000\0Mnobody may connect now\0\0"
        client.sendall(b"E" + (len(said) + 4).to_bytes(4, "big") + said)
        client.close()

    @staticmethod
    def _end(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()


@pytest.fixture
def wired(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """The catalog for plain paths, on a server, through such a connection."""
    direct = postgres_uri()
    deltalakedb.connect(direct, create=True).close()
    found = re.search(r"host=([^&]+)&port=(\d+)", direct)
    assert found is not None
    wire = Wire(found[1].replace("%2F", "/"), int(found[2]))
    through = f"host=127.0.0.1&port={wire.port}&sslmode=disable"
    monkeypatch.setenv("DELTALAKEDB_CATALOG", direct.replace(found[0], through))
    yield wire
    wire.close()


def test_it_has_an_exception_of_its_own() -> None:
    assert issubclass(CommitOutcomeUnknownError, DeltaError)
    assert not issubclass(CommitOutcomeUnknownError, CommitFailedError)
    assert not issubclass(CommitOutcomeUnknownError, OSError)


def test_it_is_the_same_within_a_transaction_and_without(
    wired: Wire, tmp_path: Path
) -> None:
    path = str(tmp_path / "t")
    write_deltalake(path, ids(0))
    table = DeltaTable(path)
    wired.is_armed = True
    with pytest.raises(CommitOutcomeUnknownError, match="did not say whether"):
        write_deltalake(table, ids(1), mode="append")
    wired.repair()
    tx = begin()
    with pytest.raises(CommitOutcomeUnknownError, match="did not say whether"), tx:
        tx.write(path, ids(2))
        wired.is_armed = True
    wired.repair()
    assert tx.versions == {}
    # The server had both.
    assert read(path) == [0, 1, 2]
