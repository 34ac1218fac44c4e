"""POST /v1/grammar/check: whether a constraint can be served, and where it cannot."""

from __future__ import annotations

from typing import Any

from ...constrained.fields import FIELD_NAMES, find_constraint, locate
from ...constrained.translate import check_constraint
from ...errors import GrammarError, RequestError
from ..generate_request import GenerateRequest
from ..sampling_params import SamplingParams
from .errors import error_object
from .generation import Tally, chunks_of, gather
from .http import Answer, Request, json_response
from .route import Route
from .service import Service


async def check(service: Service, request: Request) -> Answer:
    """{"ok": true, "kind", "ignored": JSON pointers} or {"ok": false, "error": {message, type, param, code}}.

    The body holds one constraint under any of the names that generation routes take. It is compiled as for a request,
    with the same limits, and one token is made with it.
    """
    front = service.front
    data = await request.json_object()
    request.ignored.extend(sorted(data.keys() - FIELD_NAMES - {"model"}))
    service.check_fields(request)
    service.check_model(data.get("model"))
    try:
        found = find_constraint({name: value for name, value in data.items() if name in FIELD_NAMES})
        if found is None:
            raise RequestError(f"give one of {', '.join(sorted(FIELD_NAMES))}")
        try:
            ignored = check_constraint(found.constraint)
        except GrammarError as error:
            raise locate(error, found.param) from None
        call = GenerateRequest(
            prompt=["a"],
            sampling=SamplingParams(max_new_tokens=1, temperature=0.0),
            constraint=found.constraint,
            client=request.client,
            timeout_s=service.timeout(None),
        )
        tally = Tally()
        await request.guard(gather(chunks_of(front, call, prompt_param="model", found=found), 1, tally))
    except GrammarError as error:
        return json_response({"ok": False, "error": error_object(error)})
    told: dict[str, Any] = {"ok": True, "kind": type(found.constraint).__name__, "ignored": list(ignored)}
    return json_response({**told, "grammar_ms": tally.timings()["grammar_ms"]})


def routes() -> list[Route]:
    return [Route(path="/v1/grammar/check", handler=check, summary="Check a constraint")]
