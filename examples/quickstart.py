"""The first program: a chat, a fork, a choice, a regex and a JSON schema, on the default model.

    python examples/quickstart.py

prints what was generated, and how many prompt tokens each call took from the prefix cache instead of computing them.
"""

import json
import sys
import time

import radixlang as sgl

CITY = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "country": {"enum": ["France", "Italy", "Japan"]},
        "population": {"type": "integer", "minimum": 1000, "maximum": 40000000},
    },
    "required": ["name", "country", "population"],
    "additionalProperties": False,
}


@sgl.function
def chat(s):
    s += sgl.system("You are a helpful guide. Answer in one short sentence.")
    s += sgl.user("What is the capital of France?")
    s += sgl.assistant(sgl.gen("first", max_tokens=32))
    s += sgl.user("Name one thing to see there.")
    s += sgl.assistant(sgl.gen("second", max_tokens=32))


@sgl.function
def tips(s):
    s += "Good habits for a healthy life are to eat well, to sleep enough and to move.\n"
    branches = s.fork(3)
    for name, branch in zip(["eating", "sleeping", "moving"], branches, strict=True):
        branch += f"Here is a tip about {name}: you should" + sgl.gen("tip", max_tokens=24, stop="\n")
    branches.join()


@sgl.function
def grass(s):
    s += "In summer the grass is" + sgl.select("colour", [" green", " blue", " purple"])


@sgl.function
def date(s):
    s += "The first landing on the moon was on the date " + sgl.gen("date", regex=r"\d{4}-\d{2}-\d{2}", max_tokens=16)


@sgl.function
def city(s):
    s += sgl.user("Describe the city of Paris as JSON.")
    s += sgl.assistant(sgl.gen("city", json_schema=json.dumps(CITY), max_tokens=80))


def show(title, state, *names):
    """Waits for the program, then prints its values and what was reused."""
    print(f"\n== {title}")
    for name in names:
        value = state[name]
        for text in value if isinstance(value, list) else [value]:
            print(f"   {name}: {text.strip()}")
        meta = state.get_meta_info(name) if not isinstance(value, list) else None
        if meta and "cached_tokens" in meta:
            print(f"      cached {meta['cached_tokens']} of {meta['prompt_tokens']} prompt tokens")


def main():
    started = time.perf_counter()
    engine = sgl.Engine(model_path=sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct")
    sgl.set_default_backend(engine)
    print(f"engine ready in {time.perf_counter() - started:.2f} s")

    started = time.perf_counter()
    show("a chat of two turns: the second computes only what is new", chat.run(temperature=0), "first", "second")
    show("a fork: three branches share one prefix", tips.run(temperature=0), "tip")
    show("a choice, scored by the model", grass.run(), "colour")
    show("a regular expression: \\d{4}-\\d{2}-\\d{2}", date.run(temperature=0), "date")
    state = city.run(temperature=0)
    show("a JSON schema", state, "city")
    assert set(json.loads(state["city"])) == {"name", "country", "population"}

    stats = engine.get_server_info()["internal_states"][0]
    reused, prompts = stats["cached_tokens_total"], stats["prompt_tokens_total"]
    print(f"\n{time.perf_counter() - started:.2f} s; {reused} of {prompts} prompt tokens came from the cache")
    engine.shutdown()


if __name__ == "__main__":
    main()
