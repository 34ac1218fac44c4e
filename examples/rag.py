"""Retrieval: the passages that share most words with a question, then an answer from them alone.

    python examples/rag.py

printed, on SmolLM2-135M:

    When is the library closed?
    -> The library is closed on Sundays.
    What do adults pay at the swimming pool?
    -> The swimming pool opens at seven, which is a fixed amount of money. The answer is that adults pay two euros.
"""

import radixlang as sgl

PASSAGES = [
    "The library opens at nine and closes at six. On Sundays it is closed.",
    "The swimming pool opens at seven. Children pay two euros, adults pay four.",
    "The museum shows paintings of the town. It is free on Mondays.",
]


def retrieve(question, num=1):
    words = set(question.lower().strip("?").split())
    return sorted(PASSAGES, key=lambda p: -len(words & set(p.lower().replace(".", " ").split())))[:num]


@sgl.function
def answer(s, question):
    s += sgl.system("Answer with what the passage says, in one sentence.")
    s += sgl.user("Passage: " + " ".join(retrieve(question)) + "\nQuestion: " + question)
    s += sgl.assistant(sgl.gen("answer", max_tokens=32, stop="\n"))


def main():
    questions = ["When is the library closed?", "What do adults pay at the swimming pool?"]
    states = answer.run_batch([{"question": q} for q in questions], temperature=0)
    for question, state in zip(questions, states, strict=True):
        print(f"{question}\n-> {state['answer'].strip()}")


if __name__ == "__main__":
    sgl.set_default_backend(sgl.Engine(model_path="smollm2-135m-instruct"))
    main()
