"""Streaming: pieces of a variable as they come; leaving the loop ends the generation where it runs.

    python examples/stream.py

printed, on SmolLM2-135M:

    ,| the| city| of| New| Haven| was| a| thriving| metropolis|,| with| towering| skyscrapers| and| bustling|
    finished by: abort
"""

import radixlang as sgl


@sgl.function
def story(s):
    s += "Once upon a time" + sgl.gen("story", max_tokens=200, ignore_eos=True)


def main():
    with story.run(stream=True, temperature=0) as state:
        for i, piece in enumerate(state.text_iter("story")):
            print(piece, end="|", flush=True)
            if i == 15:
                break
    print("\nfinished by:", state.get_meta_info("story")["finish_reason"]["type"])


if __name__ == "__main__":
    sgl.set_default_backend(sgl.Engine(model_path="smollm2-135m-instruct"))
    main()
