"""Tree of thought: several plans, several answers for each, and a score that picks the best path.

Equal prefixes are computed once: all plans share the question, all answers of a plan share the plan.

    python examples/tree_of_thought.py

printed, on SmolLM2-135M:

    * 0.92 You follow a plan, and that's all we need to do. You give th
      0.87 To solve this problem, we need to think about the train's sp
      0.84 To solve the given problem, we need to calculate the total d
      0.84 To solve this problem, we need to think about the total dist
    10 requests; 824 of 908 prompt tokens cached
"""

import radixlang as sgl

WIDTH = 2


@sgl.function
def solve(s, question):
    s += sgl.system("You solve small problems step by step.")
    s += sgl.user(question)
    paths = []
    for i, plan in enumerate(s.fork(WIDTH)):
        plan += sgl.assistant(sgl.gen("plan", max_tokens=24, seed=i))
        plan += sgl.user("Follow the plan and give the answer.")
        for j, answer in enumerate(plan.fork(WIDTH)):
            answer += sgl.assistant(sgl.gen("answer", max_tokens=24, seed=j))
            answer += sgl.user("How good is this answer?")
            answer += sgl.assistant(sgl.select("score", ["bad", "fair", "good"]))
            paths.append(answer)
    return paths


def main():
    state = solve.run(question="A train goes 60 km in an hour. How far does it go in three?", temperature=0.7)
    paths = state.ret_value
    best = max(paths, key=lambda path: path.probs("score")["good"])
    for path in paths:
        mark = "*" if path is best else " "
        print(mark, f"{path.probs('score')['good']:.2f}", " ".join(path["answer"].split())[:60])
    usage = state.usage
    print(f"{usage.requests} requests; {usage.cached_tokens} of {usage.prompt_tokens} prompt tokens cached")


if __name__ == "__main__":
    sgl.set_default_backend(sgl.Engine(model_path="smollm2-135m-instruct"))
    main()
