from __future__ import annotations

import pytest

from tests.service.world import World, start


@pytest.fixture
async def world() -> World:
    return await start()
