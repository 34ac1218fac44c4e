"""From text to a pydantic object: the model can write nothing but JSON that fits the class.

    python examples/extract_json.py

printed, on SmolLM2-135M:

    Person(name='Anna', age=31, mood='happy')
"""

from typing import Literal

from pydantic import BaseModel, Field

import radixlang as sgl


class Person(BaseModel):
    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)
    mood: Literal["happy", "sad"]


@sgl.function
def extract(s, text):
    s += sgl.user("Give the person in this text as JSON with name, age and mood: " + text)
    s += sgl.assistant(sgl.gen("person", dtype=Person, max_tokens=60))


def main():
    state = extract.run(text="Anna is 31 years old. She smiles all day.", temperature=0)
    person = state.value("person")
    assert isinstance(person, Person)
    print(repr(person))


if __name__ == "__main__":
    sgl.set_default_backend(sgl.Engine(model_path="smollm2-135m-instruct"))
    main()
