"""Programs in asyncio: an `async def` body that awaits values, and many at once on one event loop.

    python examples/async_programs.py

printed, on SmolLM2-135M:

    water is wet: no
    the sun is cold: no
    grass is green: no
"""

import asyncio

import radixlang as sgl


@sgl.function
async def check(s, claim):
    s += f"Is it true that {claim}? Answer:" + sgl.select("verdict", [" yes", " no"])
    if await s.get("verdict") == " yes":
        s += " because" + sgl.gen("why", max_tokens=12, stop=[".", "\n"])


async def run():
    claims = ["water is wet", "the sun is cold", "grass is green"]
    states = await check.arun_batch([{"claim": c} for c in claims], temperature=0, max_concurrency=8)
    for claim, state in zip(claims, states, strict=True):
        why = await state.get("why") if "why" in state else ""
        print(f"{claim}:{state['verdict']}{', because' + why if why else ''}")


def main():
    asyncio.run(run())


if __name__ == "__main__":
    sgl.set_default_backend(sgl.Engine(model_path="smollm2-135m-instruct"))
    main()
