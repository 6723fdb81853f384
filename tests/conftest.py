"""Fixtures for all tests: a seeded generator, the shipped digits, and a closed network."""

import socket

import numpy as np
import pytest

from nnref.data import mnist


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def digits():
    """(train, test) of the shipped subset."""
    return mnist.load_subset()


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Tests reach this machine and nothing else: a connection elsewhere fails at once."""
    connect = socket.socket.connect

    def local_only(self, address):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1"):
            raise OSError("tests have no network")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)
    monkeypatch.delenv("NNREF_DATA", raising=False)
