"""A program over many arguments, with a progress bar on stderr; no thread for each, and results in order.

    python examples/batch.py

printed, on SmolLM2-135M:

    France: Paris; Japan: Tokyo; Italy: Rome; Egypt: Cairo; Russia: Moscow; Cuba: Havana; Greece: Athens; Peru: Peru;
    161 of 200 cached
"""

import radixlang as sgl

COUNTRIES = ["France", "Japan", "Italy", "Egypt", "Russia", "Cuba", "Greece", "Peru"]


@sgl.function
def capital(s, country):
    s += "Capitals of the world: the capital of Spain is Madrid, the capital of Germany is Berlin, "
    s += f"the capital of {country} is" + sgl.gen("capital", stop=[",", "."], max_tokens=6)


def main():
    states = capital.run_batch([{"country": c} for c in COUNTRIES], temperature=0, progress_bar=True)
    for country, state in zip(COUNTRIES, states, strict=True):
        print(f"{country}:{state['capital']}", end="; ")
    print(f"\n{sum(s.usage.cached_tokens for s in states)} of {sum(s.usage.prompt_tokens for s in states)} cached")


if __name__ == "__main__":
    sgl.set_default_backend(sgl.Engine(model_path="smollm2-135m-instruct"))
    main()
