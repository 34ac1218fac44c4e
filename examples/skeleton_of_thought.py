"""Skeleton of thought: first the points of an answer, then all points at the same time, then one text.

    python examples/skeleton_of_thought.py

printed, on SmolLM2-135M:

    6 calls, 3 at once, 4 in a row
    Eat a balanced diet: it helps to maintain a healthy weight, which is essential for overall well-being
    Sleep enough: it helps to maintain a healthy weight, which is essential for a healthy life
    Move your body: it helps to maintain a healthy weight, which is essential for a healthy life
"""

import radixlang as sgl


@sgl.function
def habits(s, aim):
    s += f"Three habits for {aim}:\n"
    for i, verb in enumerate(["Eat", "Sleep", "Move"], 1):
        s += f"{i}. {verb}" + sgl.gen(f"p{i}", max_tokens=10, stop=[".", "\n"]) + "\n"
    points = s.fork(3)
    for i, branch in enumerate(points, 1):
        branch += f"Habit {i} matters because" + sgl.gen("text", max_tokens=32, stop=["\n", "."])
    points.join()


def main():
    program = habits.compile()
    stats = program.graph.stats()
    print(f"{stats['gens']} calls, {stats['width']} at once, {stats['depth']} in a row")
    state = program.run(aim="a healthy life", temperature=0)
    for i, (verb, text) in enumerate(zip(["Eat", "Sleep", "Move"], state["text"], strict=True), 1):
        print(f"{verb}{state[f'p{i}']}:{text}")


if __name__ == "__main__":
    sgl.set_default_backend(sgl.Engine(model_path="smollm2-135m-instruct"))
    main()
