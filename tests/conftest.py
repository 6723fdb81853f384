"""Fixtures for all tests: a generator, the shipped digits, a cache of their own, no network."""

import os
import socket

import numpy as np
import pytest

if os.environ.get("PYTEST_XDIST_WORKER"):  # one of several processes, started by pytest -n
    os.environ.setdefault("NNREF_THREADS", "1")

if os.environ.get("NNREF_STAND_IN"):
    import standin

    standin.install()

from nnref.data import mnist
from nnref.data.files import cache
from nnref.feedback import Feedback


def pytest_make_parametrize_id(config, val, argname):
    """Names without addresses in memory, so that processes can divide the tests among them."""
    if isinstance(val, Feedback):
        return type(val).__name__
    return argname if getattr(val, "__name__", "") == "<lambda>" else None


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def digits():
    """(train, test) of the shipped subset."""
    return mnist.load_subset()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """The user's cache folder stays as it is; a test that needs one gets its own."""
    folder = tmp_path_factory.mktemp("cache") / "nnref"
    monkeypatch.setattr(cache, "cache_folder", lambda: folder)


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
