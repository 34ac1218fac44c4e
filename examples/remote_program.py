"""A whole program as one request: its graph goes to where the model is, and only values come back.

The backend may be an Engine in this process, or a server: sgl.RuntimeEndpoint("http://127.0.0.1:30000").

    python examples/remote_program.py

printed, on SmolLM2-135M:

    ideas:  shop sells tea that is made from a; shop sells only tea; only way to make a living is to
    round trips: local 5, remote 1
    by name:  Shops
"""

import radixlang as sgl


@sgl.function
def name_it(s, thing):
    s += f"A shop that sells {thing} needs a name.\n"
    group = s.fork(3)
    group += lambda i: f"Idea {i + 1}: The" + sgl.gen("idea", max_tokens=8, stop=["\n", ".", ","])
    group.join()
    s += sgl.switch(thing, {"tea": "A tea house", "books": "A book shop"}, default="A shop") + " should be called The"
    s += sgl.gen("name", max_tokens=8, stop=["\n", ".", ","])


def main():
    program = name_it.compile(mode="graph")
    local = program.run(thing="tea", temperature=0)
    remote = program.run(thing="tea", temperature=0, remote=True)
    assert remote.text() == local.text()
    assert list(remote["idea"]) == list(local["idea"])
    print("ideas:", ";".join(remote["idea"]))
    print(f"round trips: local {local.usage.round_trips}, remote {remote.usage.round_trips}")

    program.register("name-it")  # from now on the name is enough
    print("by name:", sgl.call("name-it", thing="books", temperature=0)["name"])


if __name__ == "__main__":
    sgl.set_default_backend(sgl.Engine(model_path="smollm2-135m-instruct"))
    main()
