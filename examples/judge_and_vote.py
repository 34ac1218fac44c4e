"""Fork, judge, vote: three judges of one essay share its text, and the grade that most of them give is taken.

    python examples/judge_and_vote.py

printed, on SmolLM2-135M:

    grades:  A, A, A
    verdict: A because of the trees
"""

import radixlang as sgl

ESSAY = "Trees give shade and clean the air. A street with trees is cooler, quieter and better to walk on."


@sgl.function
def judge(s, essay):
    s += "Read this essay about trees.\n" + essay + "\n"
    judges = s.fork(3)
    for what, branch in zip(["clarity", "depth", "style"], judges, strict=True):
        branch += f"Its {what} deserves the grade" + sgl.select("grade", [" A", " B", " C"])
    judges.join()
    s["verdict"] = judges.vote("grade")
    s += "All in all the grade is" + s["verdict"] + " because" + sgl.gen("why", max_tokens=24, stop=[".", "\n"])


def main():
    state = judge.compile().run(essay=ESSAY, temperature=0)
    print("grades:", ",".join(state["grade"]))
    print("verdict:", state["verdict"].strip(), "because" + state["why"])


if __name__ == "__main__":
    sgl.set_default_backend(sgl.Engine(model_path="smollm2-135m-instruct"))
    main()
