import asyncio

import pytest

from radixlang.runtime.merge import merge


def test_merged_streams_keep_each_ones_order_and_close_together():
    async def run():
        closed = []

        async def numbers(name, count):
            try:
                for i in range(count):
                    yield f"{name}{i}"
                    await asyncio.sleep(0)
            finally:
                closed.append(name)

        got = [item async for item in merge([numbers("a", 20), numbers("b", 3)])]
        assert [item for item in got if item.startswith("a")] == [f"a{i}" for i in range(20)]
        assert [item for item in got if item.startswith("b")] == ["b0", "b1", "b2"]
        for names in (("c", "d"), ("e",)):
            early = merge([numbers(name, 20) for name in names])
            async for _ in early:
                break
            await early.aclose()
            assert set(names) <= set(closed)

    asyncio.run(run())


def test_an_error_of_one_merged_stream_is_told():
    async def broken():
        raise KeyError("x")
        yield ""

    async def endless():
        while True:
            yield "y"
            await asyncio.sleep(0)

    async def run(*others):
        with pytest.raises(KeyError):
            _ = [item async for item in merge([broken(), *others])]

    asyncio.run(run())
    asyncio.run(run(endless()))
