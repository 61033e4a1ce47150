from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from netplug.engine.client import EngineClient
from netplug.engine.discover import EngineAddress
from tests.engine.dockerd import Dockerd


@pytest.fixture
async def dockerd(tmp_path: Path) -> AsyncIterator[Dockerd]:
    dockerd = Dockerd(tmp_path / "docker.sock")
    await dockerd.start()
    yield dockerd
    await dockerd.stop()


@pytest.fixture
async def client(dockerd: Dockerd) -> AsyncIterator[EngineClient]:
    client = EngineClient(EngineAddress(url=f"unix://{dockerd.socket}", origin="test"))
    yield client
    await client.close()
