from __future__ import annotations

import asyncio

import httpx
import pytest

from radixlang.lang.backend.connections import Connections


def test_clients_are_made_as_needed_up_to_the_limit_and_used_again():
    made: list[httpx.AsyncClient] = []

    def make() -> httpx.AsyncClient:
        made.append(httpx.AsyncClient(transport=httpx.MockTransport(lambda request: httpx.Response(200))))
        return made[-1]

    async def use(connections: Connections, at_once: int) -> int:
        live = peak = 0
        everyone = asyncio.Event()

        async def one() -> None:
            nonlocal live, peak
            async with connections.one() as client:
                live += 1
                peak = max(peak, live)
                if live == min(at_once, 3):
                    everyone.set()
                await everyone.wait()
                assert (await client.get("http://x")).status_code == 200
                live -= 1

        await asyncio.gather(*[one() for _ in range(at_once)])
        return peak

    async def main() -> None:
        connections = Connections(make, 3)
        assert await use(connections, 1) == 1
        assert await use(connections, 1) == 1
        assert len(made) == 1
        assert await use(connections, 9) == 3
        assert len(made) == 3
        with pytest.raises(KeyError):
            async with connections.one():
                raise KeyError("a failed request gives its place back")
        assert await use(connections, 9) == 3
        await connections.close()
        assert all(client.is_closed for client in made)

    asyncio.run(main())
