"""A chat of two turns. The second turn computes only what is new: the rest comes from the prefix cache.

    python examples/chat.py

printed, on SmolLM2-135M:

    The capital of France is Paris.  [0 of 32 prompt tokens cached]
    One thing to see in Paris is the Eiffel Tower.  [39 of 57 prompt tokens cached]
"""

import radixlang as sgl


@sgl.function
def chat(s, first, second):
    s += sgl.system("You are a helpful guide. Answer in one short sentence.")
    s += sgl.user(first)
    s += sgl.assistant(sgl.gen("first", max_tokens=32))
    s += sgl.user(second)
    s += sgl.assistant(sgl.gen("second", max_tokens=32))


def main():
    state = chat.run(first="What is the capital of France?", second="Name one thing to see there.", temperature=0)
    for name in ("first", "second"):
        meta = state.get_meta_info(name)
        print(f"{state[name].strip()}  [{meta['cached_tokens']} of {meta['prompt_tokens']} prompt tokens cached]")


if __name__ == "__main__":
    sgl.set_default_backend(sgl.Engine(model_path="smollm2-135m-instruct"))
    main()
