"""The same program on an API of OpenAI's kind; here it is radixlang's own server that speaks it.

    python examples/openai_backend.py

printed, on SmolLM2-135M:

    The sky is a beautiful shade of blue. It's a reflection of the Earth's atmosphere, with the blue light from
    24 tokens
"""

import radixlang as sgl


@sgl.function
def ask(s, question):
    s += sgl.user(question)
    s += sgl.assistant(sgl.gen("answer", max_tokens=24))


def main():
    runtime = sgl.Runtime(model_path="smollm2-135m-instruct")
    try:
        backend = sgl.OpenAI("default", base_url=runtime.url + "/v1", api_key="none")
        state = ask.run(question="What colour is the sky?", backend=backend, temperature=0)
        print(state["answer"].strip())
        print(backend.token_usage.completion_tokens, "tokens")
        backend.shutdown()
    finally:
        runtime.shutdown()


if __name__ == "__main__":
    main()
