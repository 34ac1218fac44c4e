"""A ReAct agent: it thinks, calls a tool, reads what the tool gave, and answers.

The call cannot be malformed: the tool's signature is the schema that the model writes under.

    python examples/react_agent.py

printed, on SmolLM2-135M:

    call: population({'country': 'Japan'}) -> 124 million
    answer: 124
"""

from typing import Literal

import radixlang as sgl


@sgl.tool
def population(country: Literal["France", "Italy", "Japan"]) -> str:
    """How many people live in a country."""
    return {"France": "68 million", "Italy": "59 million", "Japan": "124 million"}[country]


@sgl.function
def agent(s, question):
    s += sgl.system(sgl.tool_prompt([population]))
    s += sgl.user(question)
    s += sgl.assistant("Thought:" + sgl.gen("thought", max_tokens=24, stop=["\n", "<"]))
    s += sgl.assistant(sgl.gen("step", tools=[population], tool_choice="required", max_tokens=64))
    s.run_tools("step")
    s += sgl.assistant("Answer:" + sgl.gen("answer", max_tokens=32, stop="\n"))


def main():
    state = agent.run(question="How many people live in Japan?", temperature=0)
    for call in state.tool_calls("step"):
        print(f"call: {call.name}({call.arguments}) -> {call.run()}")
    print("answer:", state["answer"].strip())


if __name__ == "__main__":
    sgl.set_default_backend(sgl.Engine(model_path="smollm2-135m-instruct"))
    main()
